"""Logging in to the page through an OpenID Connect provider; off unless the settings name one."""
