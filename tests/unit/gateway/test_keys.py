"""API keys: made, found, revoked, and never stored."""

import stat
from pathlib import Path

import pytest

from daiic.gateway.keys import ApiKeysError, KeyFile


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def test_a_key_is_found_until_it_is_revoked(file: Path) -> None:
    gateway = KeyFile(file)
    operator = KeyFile(file)
    first, second = operator.create("ann"), operator.create("bob")
    assert [gateway.find(first).name, gateway.find(second).name] == ["ann", "bob"]
    operator.revoke("ann")
    assert gateway.find(first) is None
    assert gateway.find(second).name == "bob"


def test_the_file_holds_no_key_and_is_private(file: Path) -> None:
    key = KeyFile(file).create("ann")
    assert key.rpartition("-")[2] not in file.read_text()
    assert key.split("-", 2)[2] not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "change", [lambda k: k[:-1], lambda k: k + "x", lambda k: "sk" + k, str.upper]
)
def test_a_changed_key_is_not_valid(file: Path, change) -> None:
    keys = KeyFile(file)
    key = keys.create("ann")
    assert keys.find(change(key)) is None


@pytest.mark.parametrize("junk", ["", "daiic-", "daiic-12345678-", "\udcff", "x" * 100_000])
def test_junk_is_not_a_key(file: Path, junk: str) -> None:
    keys = KeyFile(file)
    keys.create("ann")
    assert keys.find(junk) is None


def test_names_may_repeat_and_then_ids_revoke(file: Path) -> None:
    keys = KeyFile(file)
    keys.create("ann")
    keys.create("ann")
    with pytest.raises(ApiKeysError, match="2 keys are called ann: name one of"):
        keys.revoke("ann")
    keys.revoke(next(iter(keys.load())))
    assert len(keys.load()) == 1


def test_a_file_that_others_may_read_is_refused(file: Path) -> None:
    KeyFile(file).create("ann")
    file.chmod(0o644)
    with pytest.raises(ApiKeysError, match="chmod 600"):
        KeyFile(file).load()


def test_a_damaged_or_missing_file_says_what_to_do(file: Path) -> None:
    with pytest.raises(ApiKeysError, match="daiic apikey create"):
        KeyFile(file).load()
    file.write_text("{")
    file.chmod(0o600)
    with pytest.raises(ApiKeysError, match="is not a file of API keys"):
        KeyFile(file).load()
