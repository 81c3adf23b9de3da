"""Requests to Ollama's API and its answers, as the package `ollama` has them."""
