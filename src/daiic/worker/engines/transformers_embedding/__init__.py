"""Sentence embeddings."""

from daiic.worker.engines.transformers_embedding.load import load_embedding

__all__ = ["load_embedding"]
