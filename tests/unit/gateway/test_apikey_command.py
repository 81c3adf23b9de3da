"""`daiic apikey`: what an operator types, and what the gateway then accepts."""

import datetime
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daiic.cli.apikey import app
from daiic.gateway.http.api_keys import KeyFile
from daiic.gateway.http.key_limits import KeyLimits
from daiic.gateway.usage.amounts import Amounts
from daiic.gateway.usage.database import Used
from daiic.gateway.usage.store import UsageStore


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


def test_limits_are_set_changed_shown_and_taken_back(file: Path) -> None:
    key = call(
        file, "create", "ann", "--tokens-per-day=5000", "--model=Qwen/*", "--priority=low"
    ).stdout.strip()
    limits = KeyFile(file).find(key).limits
    assert limits == KeyLimits(tokens_per_day=5000, models=("Qwen/*",), priority="low")
    said = call(file, "set", "ann", "--requests-per-minute=0", "--admin").stderr
    assert "requests per minute: no limit" in said and "admin" in said
    listed = json.loads(call(file, "list", "--json").stdout)[0]
    assert (listed["tokens_per_day"], listed["requests_per_minute"]) == (5000, 0)
    assert listed["models"] == ["Qwen/*"] and listed["is_admin"]
    call(file, "set", "ann", "--unset=models", "--unset=tokens-per-day", "--priority=normal")
    assert KeyFile(file).find(key).limits == KeyLimits(requests_per_minute=0)


def test_a_change_of_nothing_or_of_what_there_is_not_is_refused(file: Path) -> None:
    call(file, "create", "ann")
    assert "nothing is to change" in call(file, "set", "ann", status=2).stderr
    assert "the limits are" in call(file, "set", "ann", "--unset=color", status=2).stderr
    assert "daiic apikey list" in call(file, "set", "bob", "--admin", status=2).stderr
    call(file, "set", "ann", "--tokens-per-day=-1", status=2)


def test_use_is_a_table_of_what_there_was(tmp_path: Path) -> None:
    store = UsageStore(str(tmp_path), 400)
    store.open()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    store.add([Used(today, "k1", "ann\u202e", "m", Amounts(requests=1234, prompt_tokens=5))])
    store.close()
    database = f"--database={tmp_path / 'usage.sqlite'}"
    shown = CliRunner().invoke(app, ["usage", "--by", "model", database]).stdout
    assert "1,234" in shown and "prompt" in shown and "images" not in shown
    assert "\u202e" not in shown
    assert "nothing was used" in CliRunner().invoke(app, ["usage", "bob", database]).stderr
    missing = CliRunner().invoke(app, ["usage", f"--database={tmp_path / 'none'}"])
    assert missing.exit_code == 2 and "--database" in missing.stderr
