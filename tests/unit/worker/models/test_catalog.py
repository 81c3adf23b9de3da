"""What a model's name may mean, and what it never does."""

import json
import os
import string
import tempfile
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models import catalog as catalog_module
from daiic.worker.models import model_folder
from daiic.worker.models.catalog import Catalog
from daiic.worker.models.names import check_name
from support.models import hostile_models
from support.models.hostile_models import safetensors


def folder(path: Path, architecture: str = "LlamaForCausalLM", weights: str = "model.safetensors"):
    safe = weights if weights.endswith(".safetensors") else ""
    hostile_models.folder(path, {"architectures": [architecture]}, safe)
    if weights and not safe:
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


@pytest.mark.parametrize(
    "files",
    [
        {"tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"})},
        {
            "tokenizer_config.json": json.dumps(
                {
                    "chat_template": [
                        {"name": "tool_use", "template": "{{ tools }}"},
                        {"name": "default", "template": "{{ messages }}"},
                    ]
                }
            )
        },
        {"chat_template.jinja": "{{ messages }}"},
    ],
)
def test_language_models_with_a_chat_template_chat(catalog, models, files):
    folder(models / "chat")
    for name, content in files.items():
        (models / "chat" / name).write_text(content)
    assert {pb.CHAT, pb.COMPLETE, pb.EMBED} <= catalog.find("chat").capabilities


@pytest.mark.parametrize(
    "config",
    [
        "{}",
        '{"chat_template": ""}',
        '{"chat_template": [{"name": "tool_use", "template": "{{ tools }}"}]}',
        '{"chat_template": [7]}',
        "[" * 100_000,
        "\xff",
    ],
)
def test_language_models_without_a_chat_template_only_complete(catalog, models, config):
    folder(models / "base")
    (models / "base" / "tokenizer_config.json").write_text(config, "latin-1")
    able = catalog.find("base").capabilities
    assert {pb.COMPLETE, pb.EMBED} <= able and pb.CHAT not in able


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
    scanned = catalog.scan()
    capabilities = {model.kind: model.capabilities for model in scanned}
    assert (capabilities[pb.EMBEDDING], capabilities[pb.IMAGE]) == (
        {pb.EMBED, pb.TOKENS},
        {pb.PAINT, pb.FORMATS},
    )
    found = {model.name: model.kind for model in scanned}
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
    assert catalog.unusable == {}, "what belongs to a model is taken for a broken one"


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
    folder(models / "speech", "T5ForConditionalGeneration")
    config = {"architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True}
    (models / "speech" / "config.json").write_text(json.dumps(config))
    assert "T5ForConditionalGeneration" in refusal(catalog, "speech").message


def test_links_out_of_the_models_folder_are_refused(catalog, models, tmp_path):
    folder(tmp_path / "outside")
    (models / "link").symlink_to(tmp_path / "outside")
    assert refusal(catalog, "link").code == pb.BAD_REQUEST
    folder(models / "inside", weights="")
    (models / "inside" / "model.safetensors").symlink_to(tmp_path / "outside" / "model.safetensors")
    assert "link out" in refusal(catalog, "inside").message
    (models / "loop").symlink_to(models / "loop")
    assert refusal(catalog, "loop").code == pb.MODEL_NOT_FOUND
    assert catalog.scan() == []


def test_whatever_lies_in_the_folder_the_rest_is_listed_and_the_log_says_what_is_wrong(
    catalog, models
):
    folder(models / "good")
    names = hostile_models.broken(models)
    with structlog.testing.capture_logs() as logs:
        assert [model.name for model in catalog.scan()] == ["good"]
        assert [model.name for model in catalog.scan()] == ["good"]
    told = {entry["model"]: entry["reason"] for entry in logs}
    assert set(names) <= set(told)
    assert len(logs) == len(told), "said again though nothing is new"
    assert all(line.isprintable() for entry in told.items() for line in entry)
    assert max(len(reason) for reason in told.values()) < 500
    assert "nested too deeply" in told["deep"]
    assert "larger than 4 MiB" in told["huge"]
    assert "not a regular file" in told["pipe"]


def test_whatever_lies_in_the_folder_a_task_is_told_what_is_wrong_with_its_model(catalog, models):
    for name in hostile_models.broken(models):
        error = refusal(catalog, name)
        assert error.code in (pb.BAD_REQUEST, pb.MODEL_NOT_FOUND), name
        assert error.remedy and error.message.isprintable() and len(error.message) < 500
        pb.ModelStatus.FromString(pb.ModelStatus(detail=error.message).SerializeToString())


def test_whatever_was_downloaded_the_rest_is_listed(catalog, tmp_path):
    hostile_models.broken(tmp_path / "broken")
    for number, path in enumerate(sorted((tmp_path / "broken").iterdir())):
        if path.is_dir() and path.name.isalnum():
            snapshot = tmp_path / "cache" / f"models--owner--n{number}" / "snapshots" / "abc"
            snapshot.parent.mkdir(parents=True)
            path.rename(snapshot)
    folder(tmp_path / "cache" / "models--owner--good" / "snapshots" / "abc")
    refs = tmp_path / "cache" / "models--owner--good" / "refs"
    refs.mkdir()
    (refs / "main").write_text("../../../models--owner--n0/snapshots/abc")
    (tmp_path / "cache" / "models--gpt2").touch()
    (tmp_path / "cache" / "models--owner--file").touch()
    assert [model.name for model in catalog.scan()] == ["owner/good"]
    assert catalog.downloaded("owner/good").kind == pb.TEXT
    assert catalog.downloaded("owner/none") is None


def test_a_download_that_leads_out_of_its_repository_is_refused(catalog, tmp_path):
    repository = tmp_path / "cache" / "models--owner--name"
    folder(repository / "snapshots" / "abc", weights="")
    safetensors(repository / "blobs" / "0123")
    weights = repository / "snapshots" / "abc" / "model.safetensors"
    weights.symlink_to("../../blobs/0123")
    assert catalog.downloaded("owner/name").path == weights.parent
    weights.unlink()
    weights.symlink_to(safetensors(tmp_path / "cache" / "models--owner--other" / "w.safetensors"))
    with pytest.raises(TaskError, match="link out of its folder"):
        catalog.downloaded("owner/name")
    assert catalog.scan() == []


def test_a_part_of_a_download_is_no_model_yet(catalog, tmp_path):
    snapshot = folder(tmp_path / "cache" / "models--owner--name" / "snapshots" / "a", weights="")
    assert catalog.downloaded("owner/name") is None
    safetensors(snapshot / "model-00001-of-00002.safetensors")
    assert catalog.downloaded("owner/name") is None
    safetensors(snapshot / "model-99999-of-999999.safetensors")
    assert catalog.downloaded("owner/name") is None
    (snapshot / "model-99999-of-999999.safetensors").unlink()
    safetensors(snapshot / "model-00002-of-00002.safetensors")
    assert catalog.downloaded("owner/name").name == "owner/name"


def test_thousands_of_entries_are_bounded(catalog, models, monkeypatch):
    monkeypatch.setattr(catalog_module, "MAX_MODELS", 3)
    monkeypatch.setattr(catalog_module, "MAX_TOLD", 2)
    for number in range(5):
        folder(models / f"good-{number}")
        folder(models / f"bad-{number}", "Nothing")
    with structlog.testing.capture_logs() as logs:
        assert [model.name for model in catalog.scan()] == ["good-0", "good-1", "good-2"]
    assert [entry.get("models", entry.get("of")) for entry in logs] == [None, None, 3, 5]
    monkeypatch.setattr(model_folder, "MAX_ENTRIES", 50)
    for number in range(51):
        (models / "good-0" / f"{number}.txt").touch()
    assert "more than 50 files" in refusal(catalog, "good-0").message


@pytest.fixture
def as_nobody():
    """A folder for everybody, looked at by somebody who is not root."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        user = os.geteuid()
        if not user:
            os.seteuid(65534)
        yield Path(place)
        os.seteuid(user)


def test_what_may_not_be_read_is_named(as_nobody):
    catalog = Catalog(as_nobody, as_nobody / "cache")
    folder(as_nobody / "locked").chmod(0)
    folder(as_nobody / "half")
    (as_nobody / "half" / "config.json").chmod(0)
    with structlog.testing.capture_logs() as logs:
        assert catalog.scan() == []
    assert all("Permission denied" in entry["reason"] for entry in logs) and len(logs) == 2
    for name in ("locked", "half"):
        assert "Permission denied" in refusal(catalog, name).message
    (as_nobody / "locked").chmod(0o700)


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
    catalog = Catalog(tmp_path_factory.getbasetemp() / "empty", None)  # others have models there
    try:
        assert catalog.find(name) is None
    except TaskError as error:
        assert error.message and error.remedy
