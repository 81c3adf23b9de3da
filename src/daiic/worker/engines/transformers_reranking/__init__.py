"""Cross-encoders through transformers: how well a document answers a query."""
