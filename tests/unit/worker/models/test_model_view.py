"""What a library is given of a model's folder, and which folders it is never given."""

import json
import math
from pathlib import Path

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.catalog import Catalog
from daiic.worker.models.model_view import MAX_TEMPLATE, checked_view
from support.models import hostile_models
from support.models.hostile_models import folder, safetensors


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def seen(models: Path, name: str) -> dict[str, str]:
    """Return the files that a library sees of a model, with their contents."""
    with checked_view(Catalog(models, models / "cache").find(name)) as path:
        assert path.name == name
        files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
        files += [f for f in path.with_suffix(".config").rglob("*") if f.is_file()]
        return {str(f.relative_to(path.parent)): f.read_text("latin-1") for f in files}


def refusal(models: Path, name: str) -> TaskError:
    with pytest.raises(TaskError) as caught:
        seen(models, name)
    assert caught.value.remedy
    return caught.value


def test_files_that_lead_out_of_the_model_are_refused(models: Path, tmp_path: Path) -> None:
    good = folder(tmp_path / "good")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (good / name).write_text("{}")
    for name, told in hostile_models.outside(models, good).items():
        assert told in refusal(models, name).message, name


def test_code_pickles_and_adapters_are_not_in_view(models: Path) -> None:
    path = folder(models / "chat")
    for name in (
        "modeling_chat.py",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "adapter_config.json",
        "merges.txt",
        "tokenizer.json",
        "chat_template.jinja",
        ".hidden.json",
    ):
        (path / name).write_text("{}")
    assert set(seen(models, "chat")) == {
        f"chat/{name}"
        for name in (
            "config.json",
            "model.safetensors",
            "merges.txt",
            "tokenizer.json",
            "chat_template.jinja",
        )
    }


def test_configuration_is_as_published_without_what_leads_elsewhere(models: Path) -> None:
    config = {
        "architectures": ["MambaForCausalLM"],
        "time_step_limit": [0.0, math.inf],
        "_attn_implementation": "evil/kernel",
        "text_config": {"attn_implementation": {"": "evil/kernel"}, "hidden_size": 8},
        "vision_config": [{"use_pretrained_backbone": True, "backbone": "evil/weights"}],
    }
    path = folder(models / "chat", config)
    tokenizer = {"vocab_file": "/etc/passwd", "tokenizer_file": "../x", "eos_token": "</s>"}
    (path / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    files = seen(models, "chat")
    assert json.loads(files["chat/config.json"]) == {
        "architectures": ["MambaForCausalLM"],
        "time_step_limit": [0.0, math.inf],
        "text_config": {"hidden_size": 8},
        "vision_config": [{"backbone": "evil/weights"}],
    }
    assert json.loads(files["chat/tokenizer_config.json"]) == {"eos_token": "</s>"}


@pytest.mark.parametrize("name", ["model.safetensors.index.json", "m.safetensors.index.fp16.json"])
@pytest.mark.parametrize(
    ("weight_map", "told"),
    [
        ({"w": "/etc/passwd"}, "no .safetensors beside it"),
        ({"w": "../model.safetensors"}, "no .safetensors beside it"),
        ({"w": "unet/model.bin"}, "no .safetensors beside it"),
        ({"w": "absent.safetensors"}, "that are not there"),
        ({"w": 5}, "not an index of weights"),
        ([], "not an index of weights"),
    ],
)
def test_index_in_any_part_names_only_what_lies_beside_it(
    models: Path, name: str, weight_map: object, told: str
) -> None:
    path = models / "pipeline"
    safetensors(path / "unet" / "model.safetensors")
    (path / "model_index.json").write_text('{"unet": ["diffusers", "UNet2DConditionModel"]}')
    assert "pipeline/unet/model.safetensors" in seen(models, "pipeline")
    (path / "unet" / name).write_text(json.dumps({"weight_map": weight_map}))
    assert told in refusal(models, "pipeline").message


def test_part_with_pickled_weights_only_is_refused(models: Path) -> None:
    path = models / "pipeline"
    safetensors(path / "unet" / "model.safetensors")
    index = {"unet": ["diffusers", "U"], "vae": ["diffusers", "V"], "checker": [None, None]}
    (path / "model_index.json").write_text(json.dumps(index))
    for part in ("unet", "checker"):
        (path / part).mkdir(exist_ok=True)
        (path / part / "model.bin").touch()
    assert "pipeline/unet/model.safetensors" in seen(models, "pipeline")
    (path / "vae").mkdir()
    (path / "vae" / "model.bin").touch()
    error = refusal(models, "pipeline")
    assert error.code == pb.UNSAFE_WEIGHTS and "vae/model.bin" in error.message


def test_single_file_is_seen_with_its_configuration_only(models: Path, tmp_path: Path) -> None:
    safetensors(models / "sd.safetensors", "model.diffusion_model.w")
    (models / "sd.config" / "unet").mkdir(parents=True)
    (models / "sd.config" / "unet" / "config.json").write_text('{"use_kernels": 1}')
    (models / "other.json").touch()
    files = seen(models, "sd.safetensors")
    assert set(files) == {"sd.safetensors", "sd.config/unet/config.json"}
    assert files["sd.config/unet/config.json"] == "{}"
    (tmp_path / "outside.json").write_text("{}")
    (models / "sd.config" / "model_index.json").symlink_to(tmp_path / "outside.json")
    assert "link out of its folder" in refusal(models, "sd.safetensors").message


def test_chat_template_is_bounded(models: Path) -> None:
    path = folder(models / "chat")
    (path / "chat_template.jinja").write_text("x" * (MAX_TEMPLATE + 1))
    assert "chat/chat_template.jinja is too large" in refusal(models, "chat").message
    (path / "chat_template.jinja").unlink()
    config = {"chat_template": "x" * (MAX_TEMPLATE + 1)}
    (path / "tokenizer_config.json").write_text(json.dumps(config))
    assert "chat template that is too large" in refusal(models, "chat").message


def test_every_configuration_is_read_with_bounds(models: Path) -> None:
    for number, content in enumerate(hostile_models.CONFIGS.values()):
        if isinstance(content, bytes):
            path = folder(models / f"n{number}")
            (path / "generation_config.json").write_bytes(content)
            try:
                seen(models, f"n{number}")
            except TaskError as error:
                assert f"n{number}/generation_config.json" in error.message
    path = folder(models / "nearly")
    (path / "generation_config.json").write_text("[" * 950 + "]" * 950)
    with pytest.raises(TaskError, match="nested too deeply"):
        deeply(200, lambda: seen(models, "nearly"))


def deeply(levels: int, work) -> None:
    """Call `work` from so many frames down."""
    return deeply(levels - 1, work) if levels else work()
