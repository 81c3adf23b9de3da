"""What language models see with: images as transformers' processors prepare them."""
