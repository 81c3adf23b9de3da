"""The worker's settings, and what is refused with which advice."""

import os

import pytest
import structlog

from daiic.head.limits import HeadLimits
from daiic.service.settings import SettingsError, load
from daiic.worker.identity import identify
from daiic.worker.settings import CHANGEABLE, WorkerSettings, read_hf_token


def settings(**environment):
    given = {f"DAIIC_{key.upper()}": value for key, value in environment.items()}
    return load(WorkerSettings, "daiic-worker", [], given)


def test_defaults_serve_the_head_on_this_machine():
    assert settings().heads == ("127.0.0.1:7717",)
    assert settings().listen == "127.0.0.1:7727"


@pytest.mark.parametrize("head", ["10.0.0.1:7717", "head.local:7717", "[fd00::1]:7717"])
def test_head_elsewhere_is_refused_while_only_loopback_is_listened_on(head):
    with pytest.raises(SettingsError, match=r'set listen = "0\.0\.0\.0:7727"'):
        settings(heads=f"127.0.0.1:7717,{head}")
    assert settings(heads=head, listen="0.0.0.0:7727")


@pytest.mark.parametrize(
    ("key", "value", "advice"),
    [
        ("quantization", "3bit", "none, 8bit, 4bit"),
        ("precision", "float16", "auto, float32, bfloat16"),
        ("backend", "tpu", "auto, cuda, rocm, vulkan, cpu"),
        ("engine", "ollama", "auto, vllm"),
        ("ray_address", "10.44.0.1", "host:port"),
        ("draft_models", "chat", "each item MODEL=FILE with a GGUF file"),
        ("draft_models", "chat=draft.safetensors", "MODEL=FILE with a GGUF file"),
        ("ray_machines", "1", "a whole number from 2 to 64"),
        ("gpus", "first", "each item a card's number, its UUID"),
        ("gpus", "0,-1", "each item a card's number, its UUID"),
        ("slots", "0", "a whole number from 1 to 4096"),
        ("vram_limit", "-1", "a number of bytes"),
        ("listen", "7727", "host:port"),
        ("heads", "", "name a head"),
        ("tags", "two words", "each item a word of at most 64 characters"),
        ("tags", "x" * 65, "each item a word of at most 64 characters"),
    ],
)
def test_wrong_values_are_answered_with_what_would_be_right(key, value, advice):
    with pytest.raises(SettingsError, match=f"{key} = .*{advice}"):
        settings(**{key: value})


def test_cards_are_not_named_for_a_processor():
    assert settings(gpus="0,0000:41:00.0,GPU-3d5a-1f").gpus == ("0", "0000:41:00.0", "GPU-3d5a-1f")
    with pytest.raises(SettingsError, match=r"gpus names graphics cards, .* leave one of them out"):
        settings(gpus="0", backend="cpu")


def test_a_ray_cluster_is_for_vllm():
    with pytest.raises(SettingsError, match=r"ray_address = .* is for vLLM, .* leave .* out"):
        settings(ray_address="10.44.0.1:6379")
    assert settings(ray_address="10.44.0.1:6379", engine="vllm").ray_machines == 2


def test_a_model_has_one_draft():
    drafts = ("a=x.gguf", "owner/b:Q4_K_M=/y.gguf")
    assert settings(draft_models=",".join(drafts)).draft_models == drafts
    with pytest.raises(SettingsError, match=r"draft_models names two files for a, .* leave one"):
        settings(draft_models="a=x.gguf,a=y.gguf")


def test_a_worker_has_no_more_tags_than_heads_keep():
    many = ",".join(f"t{number}" for number in range(HeadLimits().tags))
    assert len(settings(tags=many).tags) == HeadLimits().tags
    with pytest.raises(SettingsError, match=r"tags has 65 words, .* at most 64"):
        settings(tags=f"{many},more")


def test_what_can_be_reloaded_are_settings():
    assert set(WorkerSettings.__struct_fields__) >= CHANGEABLE


def test_token_comes_from_its_file_before_the_environment(tmp_path):
    file = tmp_path / "token"
    file.write_text("hf_fromfile\n")
    assert read_hf_token(settings(hf_token_file=str(file)), {"HF_TOKEN": "hf_env"}) == "hf_fromfile"
    assert read_hf_token(settings(), {"HF_TOKEN": "hf_env"}) == "hf_env"
    assert read_hf_token(settings(), {}) is None


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"hf_a hf_b", b"hf_a\x1b[31m", b"\xff\xfe", b"hf_a" * 2000]
)
def test_file_without_a_token_is_refused_and_not_quoted(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match="hf_token_file = ") as caught:
        read_hf_token(settings(hf_token_file=str(file)), {})
    assert "hf_a" not in str(caught.value)


def test_token_of_the_environment_has_to_be_one_too():
    with pytest.raises(SettingsError, match="HF_TOKEN does not hold a token") as caught:
        read_hf_token(settings(), {"HF_TOKEN": "hf_a\nhf_b"})
    assert "hf_a" not in str(caught.value)


def test_worker_keeps_its_id_but_not_its_incarnation(tmp_path):
    first, second = (identify(str(tmp_path / "state"), "name") for _ in range(2))
    assert first.worker_id == second.worker_id and first.incarnation != second.incarnation
    assert identify(str(tmp_path / "other"), "name").worker_id != first.worker_id


@pytest.mark.parametrize(
    "content", [b"", b"not an id\n", b"\xff\xfe\0", b"x" * 65, "é".encode(), b"\0" * 5000]
)
def test_damaged_id_is_replaced(tmp_path, content):
    (tmp_path / "worker-id").write_bytes(content)
    with structlog.testing.capture_logs() as logs:
        made = identify(str(tmp_path), "name").worker_id
    assert made.isalnum() and identify(str(tmp_path), "name").worker_id == made
    assert logs[0]["file"] == str(tmp_path / "worker-id")


def test_id_that_cannot_be_read_is_what_is_blamed_and_not_its_folder(tmp_path):
    file = tmp_path / "worker-id"
    file.mkdir()
    for told in ("Is a directory", "not a regular file", "larger than 1 MiB"):
        with pytest.raises(SettingsError, match=f"worker-id cannot be read.*{told}.*remove it"):
            identify(str(tmp_path), "name")
        if file.is_dir():
            file.rmdir()
            os.mkfifo(file)
        else:
            file.unlink()
            file.write_bytes(bytes(2 << 20))


def test_state_folder_that_cannot_be_made_is_a_settings_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="state_dir = "):
        identify(str(tmp_path / "file" / "state"), "name")
