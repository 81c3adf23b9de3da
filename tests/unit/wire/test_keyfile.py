"""Key files: what `daiic keygen` writes, and what every daemon refuses to read."""

import os
import resource
import stat
from pathlib import Path

import pytest

from daiic.wire.keyfile import ClusterKey, KeyFileError


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    ClusterKey.generate().save(path)
    return path


def test_a_saved_key_is_read_back(tmp_path: Path) -> None:
    key = ClusterKey.generate()
    key.save(tmp_path / "key")
    assert ClusterKey.load(tmp_path / "key") == key
    assert key != ClusterKey.generate()


def test_a_new_key_is_for_its_owner_only_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ClusterKey.generate().save(tmp_path / "key")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(key_file: Path) -> None:
    before = key_file.read_bytes()
    with pytest.raises(KeyFileError, match="exists already; choose another name"):
        ClusterKey.generate().save(key_file)
    assert key_file.read_bytes() == before


@pytest.mark.parametrize("mode", [0o400, 0o440, 0o600, 0o640])
def test_modes_that_keep_others_out_are_fine(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    ClusterKey.load(key_file)


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o620, 0o602, 0o666, 0o777])
def test_modes_that_let_others_in_are_refused_with_the_remedy(key_file: Path, mode: int) -> None:
    key_file.chmod(mode)
    with pytest.raises(KeyFileError, match=rf"mode {mode:04o}.*run `chmod 600 {key_file}`"):
        ClusterKey.load(key_file)


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match=r"does not exist: make one with `daiic keygen`"):
        ClusterKey.load(tmp_path / "key")


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(KeyFileError, match="cannot be read: Is a directory"):
        ClusterKey.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"secret",
        b"daiic-key-1:",
        b"daiic-key-1:AAAA",
        b"daiic-key-1:" + b"A" * 43,
        b"daiic-key-1:" + b"!" * 44,
        b"daiic-key-2:" + b"A" * 43 + b"=",
        b"A" * 43 + b"=",
        bytes(range(200, 232)),
    ],
)
def test_other_content_is_not_a_key(key_file: Path, content: bytes) -> None:
    key_file.write_bytes(content)
    with pytest.raises(KeyFileError, match="is not a cluster key: make one"):
        ClusterKey.load(key_file)


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be written: No such file or directory"):
        ClusterKey.generate().save(tmp_path / "nowhere" / "key")


def test_the_secret_does_not_show_in_logs() -> None:
    key = ClusterKey(b"s" * 32)
    assert "sss" not in repr(key)
    assert "sss" not in str(key)


def test_a_full_disk_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, most))
    try:
        with pytest.raises(KeyFileError, match="cannot be written: File too large"):
            ClusterKey.generate().save(tmp_path / "key")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    assert not (tmp_path / "key").exists()
    ClusterKey.generate().save(tmp_path / "key")


def test_a_key_is_never_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(KeyFileError, match="not a regular file"):
        ClusterKey.load(tmp_path / "pipe")
    with pytest.raises(KeyFileError, match="not a regular file"):
        ClusterKey.load("/dev/zero")


@pytest.mark.parametrize("name", ["a\0b", "\udfff"])
def test_a_name_that_no_file_can_have_is_an_error_too(tmp_path: Path, name: str) -> None:
    with pytest.raises(KeyFileError, match="no file can have this name"):
        ClusterKey.load(tmp_path / name)
    with pytest.raises(KeyFileError, match="no file can have this name"):
        ClusterKey.generate().save(tmp_path / name)


def test_a_huge_file_is_no_key(key_file: Path) -> None:
    with key_file.open("ab") as file:
        file.truncate(1 << 30)
    with pytest.raises(KeyFileError, match="larger than 4 KiB"):
        ClusterKey.load(key_file)
