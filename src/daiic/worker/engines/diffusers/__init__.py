"""Images from text, through diffusers' pipelines."""
