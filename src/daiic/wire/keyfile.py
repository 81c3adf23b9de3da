"""The cluster key: 32 random bytes in a file that only its owner may read."""

import base64
import binascii
import os
import secrets
import stat
from dataclasses import dataclass, field
from pathlib import Path

from daiic.bounded_file import read_bounded

KEY_SIZE = 32
MAX_FILE = 4096
PREFIX = "daiic-key-1:"
MAKE_ONE = "make one with `daiic keygen`"


class KeyFileError(Exception):
    """A cluster key file that cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ClusterKey:
    """The secret that every member of a cluster shares."""

    secret: bytes = field(repr=False)

    @classmethod
    def generate(cls) -> "ClusterKey":
        """Return a new random key."""
        return cls(secrets.token_bytes(KEY_SIZE))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ClusterKey":
        """Read the key from `path`.

        Raises:
            KeyFileError: if it is missing, open to other users, or not a key.
        """
        path = Path(path)
        try:
            text = read_bounded(path, MAX_FILE).decode("ascii").strip()
            mode = stat.S_IMODE(path.stat().st_mode)
        except FileNotFoundError:
            raise KeyFileError(f"cluster key {path} does not exist: {MAKE_ONE}") from None
        except UnicodeDecodeError:
            raise KeyFileError(f"{path} is not a cluster key: {MAKE_ONE}") from None
        except OSError as error:
            raise KeyFileError(f"cluster key {path} cannot be read: {error.strerror}") from None
        # Group read is left alone: systemd's credentials and sops-nix use it.
        if mode & 0o027:
            raise KeyFileError(
                f"cluster key {path} has mode {mode:04o}, which other users may read or change: "
                f"run `chmod 600 {path}`"
            )
        try:
            secret = base64.b64decode(text.removeprefix(PREFIX), validate=True)
        except binascii.Error:
            secret = b""
        if not text.startswith(PREFIX) or len(secret) != KEY_SIZE:
            raise KeyFileError(f"{path} is not a cluster key: {MAKE_ONE}")
        return cls(secret)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the key to a new file with mode 0600.

        Raises:
            KeyFileError: if the file exists or cannot be written.
        """
        path = Path(path)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise KeyFileError(
                f"{path} exists already; choose another name, or remove it first "
                "if no machine uses that key"
            ) from None
        except (OSError, ValueError) as error:
            raise _cannot_write(path, error) from None
        try:
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{PREFIX}{base64.b64encode(self.secret).decode('ascii')}\n")
                file.flush()
                os.fsync(descriptor)
        except OSError as error:
            # What is left would be in the way of the next try, and is no key.
            path.unlink(missing_ok=True)
            raise _cannot_write(path, error) from None


def _cannot_write(path: Path, error: OSError | ValueError) -> KeyFileError:
    reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
    return KeyFileError(f"{path} cannot be written: {reason}")
