"""What a model's name may mean, and what it never does."""

import json
import string
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.catalog import Catalog, check_name


def safetensors(path: Path, *names: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {n: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for n in names or ("w",)}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    return path


def folder(path: Path, architecture: str = "LlamaForCausalLM", weights: str = "model.safetensors"):
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.json").write_text(json.dumps({"architectures": [architecture]}))
    if weights.endswith(".safetensors"):
        safetensors(path / weights)
    elif weights:
        (path / weights).write_bytes(b"\x80\x04")
    return path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def catalog(tmp_path: Path, models: Path) -> Catalog:
    models.mkdir()
    return Catalog(models, tmp_path / "cache")


def refusal(catalog: Catalog, name: str) -> TaskError:
    with pytest.raises(TaskError) as caught:
        catalog.find(name)
    return caught.value


def test_kinds_are_told_from_the_files(catalog, models):
    folder(models / "chat")
    folder(models / "seeing", "Gemma3ForConditionalGeneration")
    folder(models / "bert", "BertModel")
    folder(models / "owner" / "name")
    safetensors(models / "sd.safetensors", "model.diffusion_model.input_blocks.0.0.weight")
    (models / "sd.config").mkdir()
    (models / "sd.config" / "model_index.json").write_text("{}")
    pipeline = models / "pipeline"
    safetensors(pipeline / "unet" / "diffusion_pytorch_model.safetensors")
    (pipeline / "model_index.json").write_text("{}")
    folder(models / "sentences", "XLMRobertaModel")
    (models / "sentences" / "modules.json").write_text("[]")
    found = {model.name: model.kind for model in catalog.scan()}
    assert found == {
        "chat": pb.TEXT,
        "seeing": pb.TEXT,
        "bert": pb.EMBEDDING,
        "sentences": pb.EMBEDDING,
        "owner/name": pb.TEXT,
        "sd.safetensors": pb.IMAGE,
        "pipeline": pb.IMAGE,
    }
    for name in found:
        assert catalog.find(name).path == models / name


def test_missing_model_is_answered_with_what_there_is(catalog, models):
    folder(models / "tiny-chat")
    error = refusal(catalog, "tiny-cat")
    assert error.code == pb.MODEL_NOT_FOUND
    assert "did you mean tiny-chat?" in error.remedy and str(models) in error.remedy


def test_hugging_face_ids_are_not_looked_for_as_files(catalog):
    assert catalog.find("owner/name") is None


@pytest.mark.parametrize("name", ["weights.bin", "weights.ckpt", "pytorch_model.pt"])
def test_pickled_weights_are_refused(catalog, models, name):
    folder(models / "old", weights=name)
    error = refusal(catalog, "old")
    assert error.code == pb.UNSAFE_WEIGHTS and name in error.message and error.remedy
    assert catalog.scan() == []


def test_pickled_file_is_refused(catalog, models):
    (models / "old.ckpt").write_bytes(b"\x80\x04")
    assert refusal(catalog, "old.ckpt").code == pb.UNSAFE_WEIGHTS
    assert catalog.scan() == []


def test_model_without_weights_says_so(catalog, models):
    folder(models / "empty", weights="")
    assert "has no weights" in refusal(catalog, "empty").message


@pytest.mark.parametrize(
    "content", [b"", b"\x05", bytes(8) + b"{}", b"\xff" * 64, b"\x02" + bytes(7) + b"[]"]
)
def test_damaged_checkpoint_is_a_clear_error(catalog, models, content):
    (models / "bad.safetensors").write_bytes(content)
    assert refusal(catalog, "bad.safetensors").code == pb.BAD_REQUEST
    assert catalog.scan() == []


def test_architectures_that_no_engine_runs_are_refused(catalog, models):
    folder(models / "speech", "WhisperForConditionalGeneration")
    config = {"architectures": ["WhisperForConditionalGeneration"], "is_encoder_decoder": True}
    (models / "speech" / "config.json").write_text(json.dumps(config))
    assert "WhisperForConditionalGeneration" in refusal(catalog, "speech").message


def test_links_out_of_the_models_folder_are_refused(catalog, models, tmp_path):
    folder(tmp_path / "outside")
    (models / "link").symlink_to(tmp_path / "outside")
    assert refusal(catalog, "link").code == pb.BAD_REQUEST
    folder(models / "inside", weights="")
    (models / "inside" / "model.safetensors").symlink_to(tmp_path / "outside" / "model.safetensors")
    assert "links out" in refusal(catalog, "inside").message
    (models / "loop").symlink_to(models / "loop")
    assert refusal(catalog, "loop").code == pb.MODEL_NOT_FOUND
    assert catalog.scan() == []


def test_links_within_the_models_folder_are_followed(catalog, models):
    folder(models / "real")
    (models / "alias").symlink_to(models / "real")
    assert [model.name for model in catalog.scan()] == ["alias", "real"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x",
        "a/..",
        "/etc/passwd",
        "a//b",
        "a/b/c",
        "a\\b",
        "a\0b",
        ".git",
        "a/.b",
        "~/.ssh\n",
    ],
)
def test_paths_are_refused_as_names(catalog, name):
    error = refusal(catalog, name)
    assert error.code == pb.BAD_REQUEST and "Hugging Face id" in error.remedy


TRICKY = st.text(alphabet=string.ascii_letters + "./\\~\0%:-_ \n…日", max_size=24)


@given(name=st.one_of(TRICKY, st.text(max_size=24), st.lists(TRICKY, max_size=4).map("/".join)))
def test_no_accepted_name_leads_out_of_a_folder(name):
    try:
        check_name(name)
    except TaskError as error:
        assert error.code == pb.BAD_REQUEST and error.remedy
        return
    root = Path("/models")
    path = root / name
    assert path.is_relative_to(root) and path != root and ".." not in path.parts
    assert len(path.relative_to(root).parts) <= 2


@given(name=st.text(max_size=300))
def test_any_name_is_answered_by_a_model_or_a_task_error(tmp_path_factory, name):
    catalog = Catalog(tmp_path_factory.getbasetemp(), None)
    try:
        assert catalog.find(name) is None
    except TaskError as error:
        assert error.message and error.remedy
