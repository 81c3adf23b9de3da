"""The activations that sentence-transformers' files name, by the path of their class in torch."""

import torch

_KNOWN = {
    "Identity": torch.nn.Identity,
    "Tanh": torch.nn.Tanh,
    "GELU": torch.nn.GELU,
    "ReLU": torch.nn.ReLU,
    "Sigmoid": torch.nn.Sigmoid,
    "SiLU": torch.nn.SiLU,
}


def activation(path: object) -> torch.nn.Module | None:
    """Return the activation that `path` names, as torch.nn.Tanh; `None` if it is not known."""
    if not isinstance(path, str) or not path.startswith("torch.nn."):
        return None
    known = _KNOWN.get(path.rpartition(".")[2])
    return known() if known is not None else None
