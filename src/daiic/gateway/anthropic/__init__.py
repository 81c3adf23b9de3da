"""Anthropic's Messages API, translated to the same tasks as OpenAI's."""
