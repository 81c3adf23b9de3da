"""Saying texts, with VITS through transformers."""
