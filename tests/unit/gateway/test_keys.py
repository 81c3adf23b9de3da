"""API keys: made, found, revoked, and never stored."""

import json
import os
import resource
import stat
from pathlib import Path

import pytest

from daiic.gateway.http.api_keys import ApiKeysError, KeyFile
from daiic.gateway.http.key_limits import KeyLimits


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


GOOD = {"id": "0123abcd", "name": "ann", "created": 1, "sha256": "0" * 64}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"x":' * 100_000,
        b'{"keys": 5}',
        b'{"keys": [{"id": "\xff"}]}',
        *(
            json.dumps({"keys": [GOOD | change]}).encode()
            for change in (
                {"sha256": "\u00e9" * 64},
                {"sha256": "short"},
                {"created": 10**15},
                {"created": -1},
                {"name": "\x1b[31mred"},
                {"name": "\ud800"},
                {"name": ""},
                {"id": "a/b"},
                {"id": None},
            )
        ),
    ],
)
def test_broken_file_is_named_and_lets_nobody_in(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    file.chmod(0o600)
    keys = KeyFile(file)
    for use in (keys.load, lambda: keys.find("daiic-0123abcd-x"), lambda: keys.create("bob")):
        with pytest.raises(ApiKeysError, match="is not a file of API keys"):
            use()
    assert file.read_bytes() == content


def test_keys_are_never_waited_for(file: Path) -> None:
    os.mkfifo(file, 0o600)
    with pytest.raises(ApiKeysError, match="not a regular file"):
        KeyFile(file).load()


def test_huge_file_is_refused(file: Path) -> None:
    KeyFile(file).create("ann")
    with file.open("ab") as keys:
        keys.truncate(1 << 30)
    with pytest.raises(ApiKeysError, match="larger than 16 MiB"):
        KeyFile(file).load()


@pytest.mark.parametrize("name", ["", "x" * 201, "two\nlines", "\x1b[31m", "\udcff"])
def test_name_that_could_not_be_shown_is_not_stored(file: Path, name: str) -> None:
    with pytest.raises(ApiKeysError, match="name needs 1 to 200 characters"):
        KeyFile(file).create(name)
    assert not file.exists()


def test_full_disk_loses_no_key(file: Path) -> None:
    key = KeyFile(file).create("ann")
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, most))
    try:
        with pytest.raises(ApiKeysError, match="cannot be written: File too large"):
            KeyFile(file).create("bob")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert KeyFile(file).find(key).name == "ann"
    assert sorted(path.name for path in file.parent.iterdir()) == ["keys.json", "keys.json.lock"]


def test_files_made_before_keys_had_limits_stay_readable(file: Path) -> None:
    file.write_text(json.dumps({"keys": [GOOD]}))
    file.chmod(0o600)
    (key,) = KeyFile(file).load().values()
    assert (key.limits, key.may_bench, key.is_admin) == (KeyLimits(), False, False)


def test_what_a_key_may_do_changes_and_what_is_not_named_stays(file: Path) -> None:
    gateway, operator = KeyFile(file), KeyFile(file)
    key = operator.create("ann", limits=KeyLimits(tokens_per_day=5, models=("a*",)))
    operator.change("ann", {"tokens_per_minute": 7, "is_admin": True})
    found = gateway.find(key)
    assert found.limits == KeyLimits(tokens_per_day=5, tokens_per_minute=7, models=("a*",))
    assert found.is_admin and not found.may_bench


@pytest.mark.parametrize(
    "limits",
    [
        {"requests_per_day": -1},
        {"tokens_per_day": 10**16},
        {"models": ("\x1b[31m",)},
        {"models": ("",)},
        {"models": ("a",) * 1001},
        {"priority": "highest"},
    ],
)
def test_limits_that_are_none_are_neither_stored_nor_read(file: Path, limits: dict) -> None:
    keys = KeyFile(file)
    keys.create("ann")
    before = file.read_bytes()
    with pytest.raises(ApiKeysError, match="no limits of a key"):
        keys.change("ann", limits)
    with pytest.raises(ApiKeysError, match="no limits of a key"):
        keys.create("bob", limits=KeyLimits(**limits))
    assert file.read_bytes() == before
    file.write_text(json.dumps({"keys": [GOOD | {"limits": limits}]}))
    with pytest.raises(ApiKeysError, match="is not a file of API keys"):
        keys.load()
