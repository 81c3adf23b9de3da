"""Images from text, through diffusers' pipelines."""

from daiic.worker.image.load import load_image

__all__ = ["load_image"]
