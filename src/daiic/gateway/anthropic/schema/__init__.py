"""Requests to the Messages API and its answers, as the package `anthropic` has them."""
