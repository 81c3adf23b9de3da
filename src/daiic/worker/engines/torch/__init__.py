"""What the engines that run on torch share: weights, precision, tokenizers, and torch's errors."""
