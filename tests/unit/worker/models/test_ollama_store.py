"""Ollama's own models are served by the names that it gives them, and its folder is not trusted."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.catalog import Catalog
from daiic.worker.models.digests import digests_of
from daiic.worker.models.model_view import checked_view
from support.models import tiny_gguf

WEIGHTS = "application/vnd.ollama.image.model"


class Store:
    """Ollama's folder; `add` puts a model there as `ollama pull` does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "blobs").mkdir(parents=True)

    def add(self, place: str, content: bytes) -> Path:
        digest = hashlib.sha256(content).hexdigest()
        (self.folder / "blobs" / f"sha256-{digest}").write_bytes(content)
        layers = [
            {"mediaType": WEIGHTS, "digest": f"sha256:{digest}", "size": len(content)},
            {"mediaType": "application/vnd.ollama.image.license", "digest": "sha256:0", "size": 1},
        ]
        return self.write(place, json.dumps({"schemaVersion": 2, "layers": layers}).encode())

    def write(self, place: str, manifest: bytes) -> Path:
        path = self.folder / "manifests" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(manifest)
        return path


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return tiny_gguf.chat_model(tmp_path_factory.mktemp("gguf") / "chat.gguf").read_bytes()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "ollama")


@pytest.fixture
def catalog(tmp_path: Path, store: Store) -> Catalog:
    (tmp_path / "models").mkdir()
    return Catalog(tmp_path / "models", tmp_path / "cache", ollama_dir=store.folder)


def test_models_go_by_the_names_that_ollama_gives_them(catalog, store, content):
    store.add("registry.ollama.ai/library/llama3.2/latest", content)
    store.add("registry.ollama.ai/library/llama3.2/1b", content)
    store.add("registry.ollama.ai/somebody/mine/v1", content)
    store.add("hf.co/owner/name-GGUF/Q4_K_M", content)
    assert [model.name for model in catalog.scan()] == [
        "llama3.2:1b",
        "llama3.2:latest",
        "owner/name-GGUF:Q4_K_M",
        "somebody/mine:v1",
    ]
    for written, name in {
        "llama3.2": "llama3.2:latest",
        "library/llama3.2:1b": "llama3.2:1b",
        "hf.co/owner/name-GGUF:q4_k_m": "owner/name-GGUF:Q4_K_M",
    }.items():
        model = catalog.find(written)
        assert model.name == name and model.kind == pb.TEXT and model.quantization == "BF16"
        with checked_view(model) as path:
            assert path.read_bytes() == content
        assert digests_of(model).weights
    with pytest.raises(TaskError, match=r"there is no model llama3\.2:70b"):
        catalog.find("llama3.2:70b")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (b"", "is not valid JSON"),
        (b"[]", "is not a JSON object"),
        (b"{}", "does not name one GGUF file"),
        (b'{"layers": {"a": 1}}', "does not name one GGUF file"),
        (b'{"layers": [7, null]}', "does not name one GGUF file"),
        (b'{"layers": [{"mediaType": "%s"}]}', "names a strange file"),
        (b'{"layers": [{"mediaType": "%s", "digest": 7}]}', "names a strange file"),
        (
            b'{"layers": [{"mediaType": "%s", "digest": "sha256:../../secret"}]}',
            "names a strange file",
        ),
        (
            b'{"layers": [{"mediaType": "%s", "digest": "sha256:' + b"0" * 64 + b'"}]}',
            "names a file that is not there",
        ),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_manifest_that_leads_nowhere_is_refused_and_the_others_stay(
    catalog, store, content, manifest, words
):
    store.add("registry.ollama.ai/library/good/1b", content)
    store.write("registry.ollama.ai/library/bad/1b", manifest.replace(b"%s", WEIGHTS.encode()))
    assert [model.name for model in catalog.scan()] == ["good:1b"]
    assert words in catalog.unusable["bad:1b"]
    with pytest.raises(TaskError, match=words) as caught:
        catalog.find("bad:1b")
    assert (
        "let Ollama download it again" in caught.value.remedy or "JSON" in words or "deep" in words
    )


def test_what_is_no_weights_file_or_leads_elsewhere_is_refused(catalog, store, content, tmp_path):
    store.add("registry.ollama.ai/library/pickle/1b", b"\x80\x04" + bytes(64))
    store.add("registry.ollama.ai/library/linked/1b", content)
    blob = store.folder / "blobs" / f"sha256-{hashlib.sha256(content).hexdigest()}"
    blob.rename(tmp_path / "outside.gguf")
    blob.symlink_to(tmp_path / "outside.gguf")
    os.mkfifo(store.folder / "manifests/registry.ollama.ai/library/pickle/pipe")
    assert catalog.scan() == []
    assert "not a GGUF file" in catalog.unusable["pickle:1b"]
    assert "link out of its folder" in catalog.unusable["linked:1b"]
    assert "cannot be read" in catalog.unusable["pickle:pipe"]


def test_folder_that_is_not_there_is_empty(tmp_path):
    catalog = Catalog(tmp_path, tmp_path / "cache", ollama_dir=tmp_path / "none")
    assert catalog.scan() == [] and not catalog.unusable
