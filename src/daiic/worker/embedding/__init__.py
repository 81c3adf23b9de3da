"""Sentence embeddings."""

from daiic.worker.embedding.load import load_embedding

__all__ = ["load_embedding"]
