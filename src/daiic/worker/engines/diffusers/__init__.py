"""Images from text, through diffusers' pipelines."""

from daiic.worker.engines.diffusers.load import load_image

__all__ = ["load_image"]
