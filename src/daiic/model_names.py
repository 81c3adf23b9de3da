"""How people write the names of models, and which model of those that there are is meant.

A model in GGUF files has a file's name ("gemma-3-270m-it-Q4_K_M.gguf"), or that
of a folder or of a Hugging Face repository with a quantisation after a colon
("owner/name:Q4_K_M"). Ollama's users write the same as "hf.co/owner/name:q4_k_m",
and "gemma3:270m" for what they got from its own library.
"""

import re
from collections.abc import Iterable

GGUF = ".gguf"
_PREFIXES = ("https://", "hf.co/", "huggingface.co/", "registry.ollama.ai/", "library/")
_TAG = re.compile(
    r"(?:^|[-._:])((?:UD-)?(?:I?Q[1-9](?:_[A-Z0-9]+)*|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32))"
    r"(?=[-._]|$)",
    re.IGNORECASE,
)
_LATEST = ":latest"
_UNSAID = frozenset({"gguf", "instruct", "it", "chat"})
"""Words that Ollama leaves out of its names."""


def plain(name: str) -> str:
    """Return `name` without what Ollama writes before a name to say where it is from."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def quantization_in(name: str) -> str:
    """Return the quantisation in a model's or a GGUF file's name, as written there, or ""."""
    found = _TAG.findall(name.removesuffix(GGUF).rpartition("/")[2])
    return str(found[-1]) if found else ""


def without_quantization(name: str) -> str:
    """Return the last part of a name without quantisation and suffix, in small letters."""
    stem = name.removesuffix(GGUF).rpartition("/")[2]
    return _TAG.sub("", stem).strip("-._:").lower()


def meant(name: str, there: Iterable[str]) -> str:
    """Return which of the models `there` is meant by `name`, the first if several could be.

    It is `name` itself, without what Ollama writes before names, if none is.
    """
    known = list(there)
    if name in known:
        return name
    name = plain(name)
    forms = {_folded(name)}
    if name.endswith(_LATEST):
        forms.add(_folded(name.removesuffix(_LATEST)))
    elif ":" not in name:
        forms.add(_folded(name + _LATEST))
    for each in known:
        if _folded(each) in forms:
            return each
    bare = name.removesuffix(_LATEST)
    if ":" not in bare:
        start = f"{bare.lower()}:"
        for each in known:
            if each.lower().startswith(start):
                return each
    words, quantization = _squeezed(bare), quantization_in(bare).upper()
    if "/" in bare or not words:
        return bare
    for each in known:
        if not _is_quantized(each) or _squeezed(each) != words:
            continue
        if not quantization or quantization_in(each).upper() == quantization:
            return each
    return bare


def _folded(name: str) -> str:
    return name.removesuffix(GGUF).lower()


def _is_quantized(name: str) -> bool:
    """Return whether `name` is that of a GGUF: others are only known by their own names."""
    return name.endswith(GGUF) or ":" in name


def _squeezed(name: str) -> str:
    words = re.split(r"[-._: ]+", without_quantization(name))
    return "".join(word for word in words if word not in _UNSAID)
