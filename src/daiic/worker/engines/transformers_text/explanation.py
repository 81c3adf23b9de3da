"""How a language model is run and why, in words for people."""

from daiic.worker.engines.context import context_of
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.processors import has_bfloat16


def choice_of(
    loaded: Weights, options: LoadOptions, context: int, known: int, attention: str = ""
) -> str:
    """Return, for people, why the model is run as it is.

    A text has at most `context` of the `known` tokens that the model takes.
    `attention` is what computes it if that is not torch.
    """
    device = "GPU" if options.backend.is_gpu else "CPU"
    memory = ", as memory allows" if context < known else ""
    flash = f"{attention}, as it is installed; " if attention else ""
    return (
        f"safetensors on a {device}; {flash}{_threads(options)}{_quantised(loaded, options)}; "
        f"{_precision(loaded, options)}; {context_of(context, known)}{memory}"
    )


def _threads(options: LoadOptions) -> str:
    if options.backend.is_gpu or not options.threads:
        return ""
    why = "as measured" if options.fewer_threads else "as it is set"
    return f"{options.threads} {'thread' if options.threads == 1 else 'threads'}, {why}; "


def _quantised(loaded: Weights, options: LoadOptions) -> str:
    if loaded.quantization == "none":
        fits = options.quantization == "auto" and not loaded.fallback
        return "not quantised, as it fits" if fits else "not quantised"
    if options.quantization == "auto":
        return f"{loaded.quantization}, as it does not fit otherwise"
    return f"{loaded.quantization}, as it is set"


def _precision(loaded: Weights, options: LoadOptions) -> str:
    computes = f"computes in {loaded.precision}"
    if options.backend.is_gpu or loaded.precision != "bfloat16":
        return computes
    why = "as it is set" if options.precision == "bfloat16" else "as float32 does not fit"
    return f"{computes}, {why}" + ("" if has_bfloat16() else ", without instructions for it")
