"""API keys, which clients send as `Authorization: Bearer ...`, and the file that lists them.

A key is `daiic-<id>-<secret>`. The file has the id and the SHA-256 of the
whole key. The secret is 256 random bits, so no slow hash is needed: nobody
can guess it at any speed.
"""

import fcntl
import hashlib
import hmac
import os
import secrets
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec

from daiic.bounded_file import read_bounded
from daiic.gateway.http.key_limits import KeyLimits
from daiic.replaced_file import replace_file

MAX_FILE = 16 << 20
"""Bytes; some 80,000 keys."""
LIMITS = frozenset(KeyLimits.__struct_fields__)
MAKE_ONE = "make one with `daiic apikey create`"


class ApiKeysError(Exception):
    """The file of API keys cannot be used; the message says what to do."""


Id = Annotated[str, msgspec.Meta(pattern=r"^[0-9A-Za-z]{1,64}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"^[^\x00-\x1f\x7f-\x9f\ud800-\udfff]{1,200}\Z")]
"""A name that a log and a terminal can show."""
Time = Annotated[int, msgspec.Meta(ge=0, le=253402214400)]
"""Seconds since the Epoch, up to the year 9999, where Python's dates end."""
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class ApiKey(msgspec.Struct, frozen=True, omit_defaults=True):
    """A key as it stands in the file; `created` is in seconds since the Epoch.

    With `may_bench` it is also good for starting benches, which keep workers busy, and
    `is_admin` for managing models and seeing what all keys have used.
    """

    id: Id
    name: Name
    created: Time
    sha256: Sha256
    may_bench: bool = False
    is_admin: bool = False
    limits: KeyLimits = KeyLimits()


class _Document(msgspec.Struct):
    keys: list[ApiKey] = []


class KeyFile:
    """The file of API keys; `load` and `find` see what other processes have changed."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[str, ApiKey] = {}

    def load(self) -> dict[str, ApiKey]:
        """Return the keys by id; the file is read again if it changed.

        Raises:
            ApiKeysError: if it is missing, open to other users, or damaged.
        """
        try:
            found = self.path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
            if seen != self._seen:
                # Group read is left alone: systemd's credentials use it.
                if stat.S_IMODE(found.st_mode) & 0o027:
                    raise ApiKeysError(
                        f"{self.path} may be read or changed by other users: "
                        f"run `chmod 600 {self.path}`"
                    )
                content = read_bounded(self.path, MAX_FILE)
                document = msgspec.json.decode(content, type=_Document)
                self._keys = {key.id: key for key in document.keys}
                self._seen = seen
        except FileNotFoundError:
            raise ApiKeysError(f"{self.path} does not exist: {MAKE_ONE}") from None
        except OSError as error:
            raise ApiKeysError(f"{self.path} cannot be read: {error.strerror}") from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiKeysError(f"{self.path} is not a file of API keys: {error}") from None
        except RecursionError:
            raise ApiKeysError(
                f"{self.path} is not a file of API keys: it is nested too deeply"
            ) from None
        return self._keys

    def find(self, presented: str) -> ApiKey | None:
        """Return the key that a client presents, `None` if it is not valid.

        Raises:
            ApiKeysError: as `load`.
        """
        _, _, rest = presented.partition("daiic-")
        key = self.load().get(rest.partition("-")[0])
        digest = _digest(presented)
        # Always compared, so that the time taken does not reveal which ids exist.
        same = hmac.compare_digest(digest, key.sha256 if key else "0" * len(digest))
        return key if same else None

    def create(
        self,
        name: str,
        *,
        may_bench: bool = False,
        is_admin: bool = False,
        limits: KeyLimits | None = None,
    ) -> str:
        """Add a key and return it: only its hash is stored, so it cannot be shown again.

        The file is created, with mode 0600, if there is none.

        Raises:
            ApiKeysError: if the file cannot be used or written, or `limits` are none.
        """
        try:
            msgspec.convert(name, Name)
        except msgspec.ValidationError:
            raise ApiKeysError(
                "a key's name needs 1 to 200 characters, none of them a control character"
            ) from None
        identity = secrets.token_hex(4)
        key = f"daiic-{identity}-{secrets.token_urlsafe(32)}"
        with self._changing() as keys:
            keys[identity] = ApiKey(
                identity,
                name,
                int(time.time()),
                _digest(key),
                may_bench,
                is_admin,
                _checked(limits or KeyLimits()),
            )
        return key

    def change(self, name_or_id: str, changes: Mapping[str, object]) -> ApiKey:
        """Change a key's `limits`, `may_bench` or `is_admin`, and return it as it is now.

        `changes` has these two and the names of limits, those that are to change.

        Raises:
            ApiKeysError: if there is no such key, or several, or `changes` are no limits.
        """
        rights = {name: value for name, value in changes.items() if name not in LIMITS}
        limits = {name: value for name, value in changes.items() if name in LIMITS}
        with self._changing() as keys:
            key = _only(keys, name_or_id)
            limited = _checked(msgspec.structs.replace(key.limits, **limits))
            changed = msgspec.structs.replace(key, limits=limited, **rights)
            keys[key.id] = changed
        return changed

    def revoke(self, name_or_id: str) -> ApiKey:
        """Remove a key by its id, or by its name if only one key has it.

        Raises:
            ApiKeysError: if there is no such key, or several.
        """
        with self._changing() as keys:
            key = _only(keys, name_or_id)
            del keys[key.id]
        return key

    @contextmanager
    def _changing(self) -> Iterator[dict[str, ApiKey]]:
        try:
            with self.path.with_name(self.path.name + ".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                keys = dict(self.load()) if self.path.exists() else {}
                yield keys
                self._write(keys)
        except OSError as error:
            raise ApiKeysError(f"{self.path} cannot be written: {error.strerror}") from None

    def _write(self, keys: dict[str, ApiKey]) -> None:
        document = msgspec.json.format(msgspec.json.encode(_Document(list(keys.values()))))
        replace_file(self.path, document + b"\n", 0o600)


def _only(keys: Mapping[str, ApiKey], name_or_id: str) -> ApiKey:
    found = [key for key in keys.values() if name_or_id in (key.id, key.name)]
    if not found:
        raise ApiKeysError(f"no key is called {name_or_id}: see `daiic apikey list`")
    if len(found) > 1:
        ids = ", ".join(key.id for key in found)
        raise ApiKeysError(f"{len(found)} keys are called {name_or_id}: name one of {ids}")
    return found[0]


def _checked(limits: KeyLimits) -> KeyLimits:
    try:
        return msgspec.convert(msgspec.to_builtins(limits), KeyLimits)
    except (msgspec.ValidationError, TypeError, UnicodeError) as error:
        raise ApiKeysError(f"these are no limits of a key: {error}") from None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
