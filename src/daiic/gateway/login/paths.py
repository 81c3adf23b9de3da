"""Where a browser logs in and out."""

LOGIN = "/login"
CALLBACK = "/login/callback"
LOGOUT = "/logout"
SESSION = "/api/session"
"""Needs no key: it tells only what the browser has shown."""
