"""Language models: batched, streamed, resumable."""

from daiic.worker.engines.transformers_text.load import load_text

__all__ = ["load_text"]
