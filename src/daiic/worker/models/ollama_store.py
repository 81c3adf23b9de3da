"""The models that Ollama has downloaded, served from where they are; nothing is written there.

Its folder has `manifests`, in it HOST/NAMESPACE/NAME/TAG for each model: JSON
that lists its layers, each a file in `blobs` named after its digest. The layer
with the weights is a GGUF file. Templates and parameters of Ollama's own stay
unused: the GGUF has the model's chat template.
"""

import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from daiic.errors import TaskError
from daiic.model_names import Names
from daiic.worker.limits import LIMITS
from daiic.worker.models.entries import entries
from daiic.worker.models.identified import gguf, gguf_by_name
from daiic.worker.models.local_models import Look
from daiic.worker.models.model import Model
from daiic.worker.models.model_json import bad_file, read_object, shown

MAX_MANIFESTS = LIMITS.looked_at
WEIGHTS = "application/vnd.ollama.image.model"
LIBRARY = ("registry.ollama.ai", "library")
HOSTS = ("registry.ollama.ai", "hf.co", "huggingface.co")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")


class OllamaStore:
    """The models in Ollama's `folder`, such as /var/lib/ollama/models."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.expanduser()

    def offered(self, unusable: dict[str, str]) -> Iterator[tuple[str, Look]]:
        """Yield what may be a model; say what cannot be read."""
        for name, manifest in self._manifests(unusable).items():
            yield name, partial(self._look, name, manifest)

    def find(self, name: str) -> Model | None:
        """Return the model that `name` means, if it means one.

        Raises:
            TaskError: BAD_REQUEST for one that cannot be used.
            OSError: if its files cannot be read.
        """
        manifests = self._manifests({})
        name = Names(manifests).meant(name)
        if name not in manifests:
            return None
        return gguf_by_name(name, self._weights(name, manifests[name]), self._folder)

    def _look(self, name: str, manifest: Path) -> Model | None:
        return gguf(name, self._weights(name, manifest), self._folder)

    def _manifests(self, unusable: dict[str, str]) -> dict[str, Path]:
        """Return where the manifest of each model is, by the name that Ollama gives it."""
        found = islice(self._tags(unusable), MAX_MANIFESTS)
        return {_name(path): path for path in found}

    def _tags(self, unusable: dict[str, str]) -> Iterator[Path]:
        for host in HOSTS:
            for namespace in entries(self._folder / "manifests" / host, unusable):
                for model in entries(namespace, unusable):
                    yield from entries(model, unusable)

    def _weights(self, name: str, manifest: Path) -> Path:
        layers = (read_object(manifest, name=name) or {}).get("layers")
        digests = [
            layer.get("digest")
            for layer in (layers if isinstance(layers, list) else [])
            if isinstance(layer, dict) and layer.get("mediaType") == WEIGHTS
        ]
        return self._blob(name, manifest, digests)

    def _blob(self, name: str, manifest: Path, digests: list[Any]) -> Path:
        if len(digests) != 1:
            raise self._refused(name, manifest, "does not name one GGUF file")
        found = _DIGEST.fullmatch(digests[0]) if isinstance(digests[0], str) else None
        if found is None:
            raise self._refused(name, manifest, f"names a strange file: {shown(digests[0])}")
        blob = self._folder / "blobs" / f"sha256-{found[1]}"
        if not blob.exists():
            raise self._refused(name, manifest, f"names a file that is not there: {blob.name}")
        return blob

    def _refused(self, name: str, manifest: Path, what: str) -> TaskError:
        error = bad_file(manifest, what, name)
        return TaskError(error.code, error.message, f"let Ollama download it again: {shown(name)}")


def _name(manifest: Path) -> str:
    host, namespace, model, tag = manifest.parts[-4:]
    return f"{model}:{tag}" if (host, namespace) == LIBRARY else f"{namespace}/{model}:{tag}"
