"""Ollama's API, translated to the same tasks as OpenAI's."""
