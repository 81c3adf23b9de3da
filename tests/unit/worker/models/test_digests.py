"""Copies of a model have the same digests, other models have others, wherever their files lie."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from gguf import GGMLQuantizationType
from safetensors.torch import load_file, save_file

from daiic.wire import daiic_pb2 as pb
from daiic.worker.models import digests
from daiic.worker.models.catalog import Catalog
from daiic.worker.models.digests import Digests, digests_of
from daiic.worker.models.model import Model
from support.models import tiny_gguf

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
NUMBERS = 50_000
"""Of 2 bytes in each tensor: more than lie between two samples of the models here."""


@pytest.fixture(autouse=True)
def models_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let these models be so large that their weights are sampled: 32 blocks of 64 bytes."""
    monkeypatch.setattr(digests, "SAMPLES", 32)
    monkeypatch.setattr(digests, "BLOCK", 64)


def published(folder: Path) -> Path:
    """Write a language model of 4 tensors in 2 files."""
    folder.mkdir(parents=True)
    random = torch.Generator().manual_seed(7)
    for number, shard in enumerate(SHARDS):
        tensors = {
            f"layers.{number}.{name}": torch.randn(NUMBERS, generator=random).half()
            for name in ("up", "down")
        }
        save_file(tensors, folder / shard)
    (folder / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "README.md").write_text("hello")
    return folder


def of(folder: Path) -> Digests:
    return digests_of(Model(folder.name, folder, pb.TEXT))


def change(file: Path, name: str) -> None:
    tensors = load_file(file)
    tensors[name] = tensors[name] * 1.01
    save_file(tensors, file)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return published(tmp_path / "model")


@pytest.fixture
def other(model: Path, tmp_path: Path) -> Path:
    """A copy under another name, with more beside it that is none of the model's own."""
    copy = shutil.copytree(model, tmp_path / "other")
    shutil.copy(copy / SHARDS[0], copy / "model.fp16.safetensors")
    (copy / "README.md").write_text("a copy")
    (copy / "pytorch_model.bin").write_bytes(b"\x80")
    return copy


def test_copies_are_the_same(model: Path, other: Path) -> None:
    assert of(model) == of(other)
    assert of(model).weights and of(model).tokenizer


def test_a_download_is_the_same_as_a_folder(model: Path, tmp_path: Path) -> None:
    repository = tmp_path / "cache" / "models--owner--name"
    snapshot = repository / "snapshots" / "0a1b"
    (repository / "blobs").mkdir(parents=True)
    snapshot.mkdir(parents=True)
    for number, file in enumerate(sorted(model.iterdir())):
        shutil.copy(file, repository / "blobs" / f"{number:040x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:040x}")
    downloaded = Catalog(tmp_path / "none", tmp_path / "cache").downloaded("owner/name")
    assert downloaded is not None
    assert digests_of(downloaded) == of(model)


def test_another_fine_tune_of_the_same_shape_differs_in_its_weights(
    model: Path, other: Path
) -> None:
    for shard in SHARDS:
        for name in load_file(other / shard):
            change(other / shard, name)
    assert of(model).weights != of(other).weights
    assert of(model).tokenizer == of(other).tokenizer


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("name", ["up", "down"])
def test_a_single_changed_tensor_longer_than_the_space_between_samples_is_seen(
    model: Path, other: Path, number: int, name: str
) -> None:
    change(other / SHARDS[number], f"layers.{number}.{name}")
    assert of(model).weights != of(other).weights


def test_a_renamed_tensor_is_seen(model: Path, other: Path) -> None:
    tensors = load_file(other / SHARDS[0])
    tensors["layers.0.aa"] = tensors.pop("layers.0.up")
    save_file(tensors, other / SHARDS[0])
    assert of(model).weights != of(other).weights


def test_all_of_a_small_model_counts(
    model: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytearray((other / SHARDS[1]).read_bytes())
    content[-1000] ^= 1
    (other / SHARDS[1]).write_bytes(content)
    assert of(model) == of(other), "one bit between two samples"
    monkeypatch.undo()
    assert of(model).weights != of(other).weights


@pytest.mark.parametrize(
    "file", ["tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"]
)
def test_another_tokenizer_is_told_from_other_weights(model: Path, other: Path, file: str) -> None:
    (other / file).write_text('{"more": 1}')
    assert of(model).weights == of(other).weights
    assert of(model).tokenizer != of(other).tokenizer


def test_a_single_file_is_the_same_under_any_name(model: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    shutil.copy(model / SHARDS[0], one)
    shutil.copy(one, two)
    assert digests_of(Model("one", one, pb.IMAGE)) == digests_of(Model("two", two, pb.IMAGE))
    assert digests_of(Model("one", one, pb.IMAGE)).weights


def test_no_more_is_read_than_the_samples(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    whole = digests.os.pread

    def counted(descriptor: int, length: int, start: int) -> bytes:
        read.append(length)
        return whole(descriptor, length, start)

    monkeypatch.setattr(digests.os, "pread", counted)
    of(model)
    assert 32 <= len(read) <= 32 + len(SHARDS) and set(read) == {64}


def test_a_tokenizer_that_is_too_large_to_load_is_not_read(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(digests, "MAX_FILE", 1)
    assert of(model) == Digests()


def test_files_that_cannot_be_read_leave_it_unknown(model: Path) -> None:
    (model / SHARDS[1]).write_bytes(b"short")
    assert of(model) == Digests()


def gguf(path: Path, **options: object) -> Digests:
    path.parent.mkdir(exist_ok=True)
    return digests_of(Model(path.name, tiny_gguf.chat_model(path, **options), pb.TEXT))


def test_gguf_is_the_same_under_another_name_and_another_quantisation_is_not(
    tmp_path: Path,
) -> None:
    one = gguf(tmp_path / "a" / "one.gguf")
    assert one.weights and one.tokenizer
    assert gguf(tmp_path / "b" / "two.gguf") == one
    smaller = gguf(tmp_path / "c" / "one.gguf", quantization=GGMLQuantizationType.Q8_0)
    assert smaller.tokenizer == one.tokenizer and smaller.weights != one.weights
    other = gguf(tmp_path / "d" / "one.gguf", template="{{ messages }}")
    assert other.tokenizer != one.tokenizer


def test_all_parts_of_a_gguf_count(tmp_path: Path) -> None:
    first = tiny_gguf.chat_model(tmp_path / "model.gguf", parts=3)
    before = digests_of(Model("model", first, pb.TEXT))
    last = first.with_name(first.name.replace("-00001-", "-00003-"))
    content = bytearray(last.read_bytes())
    content[-len(content) // 3 :] = bytes(len(content) // 3)
    last.write_bytes(content)
    assert before.weights and digests_of(Model("model", first, pb.TEXT)).weights != before.weights
