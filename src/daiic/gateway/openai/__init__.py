"""OpenAI's API: its endpoints, the bodies they exchange, and the document that describes them."""
