"""Benches that are started through the gateway, and what they measured."""
