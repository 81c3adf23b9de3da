"""DAIIC: a cluster of machines as one AI endpoint."""
