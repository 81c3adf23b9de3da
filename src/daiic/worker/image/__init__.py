"""Images from text, through diffusers' pipelines; `load` is where to start reading."""
