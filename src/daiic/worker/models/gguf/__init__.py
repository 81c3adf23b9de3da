"""GGUF, llama.cpp's format of weights: what such files say, and which of them are one model."""
