"""Sentence embeddings through transformers."""
