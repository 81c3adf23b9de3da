"""The OpenAPI document, made of what each API declares beside its routes."""
