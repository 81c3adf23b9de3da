"""`daiic apikey`: what an operator types, and what the gateway then accepts."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daiic.cli.apikey import app
from daiic.gateway.http.api_keys import KeyFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def call(file: Path, *arguments: str, status: int = 0):
    result = CliRunner().invoke(app, [*arguments, "--file", str(file)])
    assert result.exit_code == status, result.output
    return result


def test_stdout_is_the_key_alone_and_the_gateway_takes_it(file: Path) -> None:
    key = call(file, "create", "ann").stdout.strip()
    assert KeyFile(file).find(key).name == "ann"


def test_a_list_has_names_but_no_keys(file: Path) -> None:
    key = call(file, "create", "ann").stdout.strip()
    shown = call(file, "list").stdout
    assert "ann" in shown and key.split("-")[1] in shown and key.split("-", 2)[2] not in shown
    listed = json.loads(call(file, "list", "--json").stdout)
    assert [(entry["name"], entry["id"]) for entry in listed] == [("ann", key.split("-")[1])]


def test_a_revoked_key_is_gone(file: Path) -> None:
    key = call(file, "create", "ann").stdout.strip()
    call(file, "revoke", "ann")
    assert KeyFile(file).find(key) is None


def test_mistakes_are_said_with_what_to_do(file: Path) -> None:
    assert "daiic apikey create" in call(file, "list", status=2).stderr
    call(file, "create", "ann")
    assert "daiic apikey list" in call(file, "revoke", "bob", status=2).stderr
    missing = file.parent / "nowhere" / "keys.json"
    assert "cannot be written" in call(missing, "create", "ann", status=2).stderr
