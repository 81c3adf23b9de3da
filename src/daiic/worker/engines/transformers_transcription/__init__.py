"""Writing down what is said, with Whisper through transformers."""
