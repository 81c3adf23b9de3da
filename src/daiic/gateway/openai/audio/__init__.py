"""OpenAI's API for recordings and speech."""
