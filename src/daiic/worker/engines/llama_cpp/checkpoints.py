"""How often llama-server notes down what it cannot go back to otherwise.

Layers with a window forget what is too old, and recurrent ones all but the last state. So for
such models llama-server copies what they know when a prompt has been read, and computes a later
prompt that begins alike from there. Its own default, 32 copies for each slot, may take more memory
than the model.
"""

from daiic.worker.models.gguf.description import Gguf

MOST = 4
"""Copies for each slot; a conversation goes back to the last one, or the one before."""
SHARE = 0.25
"""Of the memory that is free beside the model, which all copies together may take."""


def checkpoints(model: Gguf, slots: int, free: int) -> int:
    """Return how many copies each of the `slots` may have where `free` bytes of RAM are left."""
    size = model.checkpoint_bytes
    return min(MOST, int(max(free, 0) * SHARE) // (slots * size)) if size else 0
