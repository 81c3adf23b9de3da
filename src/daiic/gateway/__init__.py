"""The HTTP side of a cluster: the APIs that it speaks, API keys, and a web page."""
