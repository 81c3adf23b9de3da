"""The HTTP face of the cluster: OpenAI's API, API keys, and one page for people."""
