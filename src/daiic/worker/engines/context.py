"""How people are told what context a model has."""


def context_of(context: int, whole: int) -> str:
    """Return words for a context of `context` tokens where the model itself takes `whole`."""
    if context >= whole:
        return f"context {context:,}"
    return f"context {context:,} of {whole:,}"
