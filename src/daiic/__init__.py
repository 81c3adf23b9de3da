"""DAIIC: a cluster of machines as one AI endpoint."""

__version__ = "0.1.0"
