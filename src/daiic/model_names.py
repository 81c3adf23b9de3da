"""How people write the names of models, and which model of those that there are is meant.

A model in GGUF files has a file's name ("gemma-3-270m-it-Q4_K_M.gguf"), or that
of a folder or of a Hugging Face repository with a quantisation after a colon
("owner/name:Q4_K_M"). Ollama's users write the same as "hf.co/owner/name:q4_k_m",
and "gemma3:270m" for what they got from its own library. A model with an
adapter is called "model:adapter".
"""

import re
from collections.abc import Iterable, Mapping

GGUF = ".gguf"
_PREFIXES = ("https://", "hf.co/", "huggingface.co/", "registry.ollama.ai/", "library/")
_TAG = re.compile(
    r"(?:^|[-._:])((?:UD-)?(?:I?Q[1-9](?:_[A-Z0-9]+)*|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32))"
    r"(?=[-._]|$)",
    re.IGNORECASE,
)
LATEST = "latest"
"""Ollama's tag where none is given."""
_LATEST = f":{LATEST}"
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


def adapted(model: str, adapter: str) -> str:
    """Return what `model` with `adapter` is called."""
    return f"{model}:{adapter}"


class Names:
    """Names of models that there are, in order of preference, and of adapters by their models."""

    def __init__(
        self, there: Iterable[str], adapters: Mapping[str, Iterable[str]] | None = None
    ) -> None:
        self._known: dict[str, None] = {}
        self._adapted = {
            adapted(model, name): (model, name)
            for model, names in (adapters or {}).items()
            for name in names
        }
        self._folded: dict[str, str] = {}
        self._bare: dict[str, str] = {}
        self._squeezed: dict[tuple[str, str], str] = {}
        for name in there:
            self._known[name] = None
            folded = _folded(name)
            self._folded.setdefault(folded, name)
            bare, colon, _ = folded.rpartition(":")
            if colon:
                self._bare.setdefault(bare, name)
            if colon or name.endswith(GGUF):
                words = _squeezed(name)
                self._squeezed.setdefault((words, ""), name)
                self._squeezed.setdefault((words, quantization_in(name).upper()), name)

    def meant(self, name: str) -> str:
        """Return which of them is meant by `name`, the first if several could be.

        It is `name` itself, without what Ollama writes before names, if none is. A model with an
        adapter is meant only by the adapter's own name after that of the model.
        """
        if name in self._known or name in self._adapted:
            return name
        name = plain(name)
        model, colon, adapter = name.rpartition(":")
        if colon:
            full = adapted(self._model_meant(model), adapter)
            if full in self._adapted:
                return full
        return self._model_meant(name)

    def parts(self, name: str) -> tuple[str, str]:
        """Return the model and the adapter that `meant` calls `name`; "" for no adapter."""
        return (name, "") if name in self._known else self._adapted.get(name, (name, ""))

    def _model_meant(self, name: str) -> str:
        if name in self._known:
            return name
        folded = _folded(name)
        untagged = folded.removesuffix(_LATEST)
        for form in (folded, untagged, f"{untagged}{_LATEST}"):
            if form in self._folded:
                return self._folded[form]
        if untagged in self._bare:
            return self._bare[untagged]
        bare, words = name.removesuffix(_LATEST), _squeezed(untagged)
        if "/" in name or not words:
            return bare
        return self._squeezed.get((words, quantization_in(untagged).upper()), bare)


def _folded(name: str) -> str:
    return name.removesuffix(GGUF).lower()


def _squeezed(name: str) -> str:
    words = re.split(r"[-._: ]+", without_quantization(name))
    return "".join(word for word in words if word not in _UNSAID)
