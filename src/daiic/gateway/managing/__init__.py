"""What administrators do with models: unload, pin and delete them."""
