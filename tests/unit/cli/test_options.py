"""What the command line makes of its options, without a cluster."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from daiic.cli.app import app
from daiic.version import VERSION

runner = CliRunner()


def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    result = runner.invoke(app, arguments, env=environment)
    return result.exit_code, result.stdout, result.stderr


def test_version_is_that_of_the_package() -> None:
    status, out, _ = run("--version")
    assert status == 0
    assert out == f"daiic {VERSION}\n"


def test_keygen_writes_a_private_file_and_never_overwrites(tmp_path: Path) -> None:
    key = tmp_path / "cluster.key"
    assert run("keygen", str(key))[0] == 0
    assert key.stat().st_mode & 0o777 == 0o600
    before = key.read_bytes()
    status, _, err = run("keygen", str(key))
    assert status == 2
    assert "exists already" in err
    assert key.read_bytes() == before


@pytest.mark.parametrize("size", ["512", "512x", "x512", "512*512", "-1x2", "9999999999x8", "٣x٣"])
def test_image_size_that_is_none_is_refused_with_an_example(size: str) -> None:
    status, _, err = run("image", "a cat", "--size", size)
    assert status == 2
    assert size in err
    assert "512x512" in err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "--edit FILE"),
        (("x", "--mask", __file__), "add --edit FILE"),
        (("x", "--strength", "0.5"), "add --edit FILE"),
        (("x", "--quality", "50"), "add --format webp"),
        (("x", "-o", "x.png", "--quality", "50"), "add --format webp"),
        (("x", "--edit", "/dev/zero"), "not a regular file"),
    ],
    ids=lambda options: " ".join(options) if isinstance(options, tuple) else None,
)
def test_options_of_images_that_do_not_belong_together_are_refused(
    options: tuple[str, ...], says: str
) -> None:
    status, _, err = run("image", *options)
    assert status == 2 and says in " ".join(err.split())


@pytest.mark.parametrize(
    "options",
    [
        ("image", "x", "--seed", str(2**64)),
        ("image", "x", "-n", "9" * 30),
        ("generate", "x", "--max-tokens", str(2**32)),
        ("generate", "x", "--top-k", str(2**32)),
        ("generate", "x", "--seed", "9" * 5000),
    ],
    ids=lambda options: options[2],
)
def test_numbers_that_no_task_can_carry_are_refused_with_the_range(
    options: tuple[str, ...],
) -> None:
    status, _, err = run(*options)
    assert status == 2
    assert options[2] in err and "Traceback" not in err


def test_remote_head_without_key_is_refused_with_advice() -> None:
    status, _, err = run("status", "--head", "192.0.2.1:7717")
    assert status == 2
    assert "without a cluster key" in err
    assert "cluster_key_file" in err


@pytest.mark.parametrize("head", ["nonsense", "host:", ":7717", "host:99999", "::1:7717"])
def test_malformed_head_is_refused_with_the_form(head: str) -> None:
    status, _, err = run("status", "--head", head)
    assert status == 2
    assert "host:port" in err


def test_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "cluster.key"
    run("keygen", str(key))
    key.chmod(0o644)
    status, _, err = run("status", "--key-file", str(key))
    assert status == 2
    assert "chmod 600" in err


def test_json_chat_needs_a_message() -> None:
    status, _, err = run("chat", "--json")
    assert status == 2
    assert "MESSAGE" in err


def test_demo_without_models_says_how_to_name_them(tmp_path: Path) -> None:
    status, _, err = run("demo", "--models-dir", str(tmp_path / "none"))
    assert status == 2
    assert "--models-dir" in err
