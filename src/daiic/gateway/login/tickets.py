"""What browsers keep for us in cookies: who has logged in, and a login that has begun.

They are JSON Web Tokens signed with a key of our own, so nothing needs to be kept here.
"""

import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import structlog

from daiic.bounded_file import read_bounded
from daiic.gateway.login.jose import JoseError, JsonWebToken
from daiic.replaced_file import replace_file

KEY_BYTES = 32
LONGEST = 4000
"""Characters of a cookie that are looked at; browsers keep no longer ones."""

_TOKENS = JsonWebToken(["HS256"])

log = structlog.get_logger()


class Attempt(msgspec.Struct, frozen=True):
    """A login that has begun: what must come back, and what proves that we began it."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "Attempt":
        """Return one that nobody can guess."""
        return cls(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48))


class Session(msgspec.Struct, frozen=True):
    """Who has logged in: what the provider calls it, what people do, and whether it is an admin."""

    subject: str
    name: str
    is_admin: bool


Ticket = TypeVar("Ticket", Attempt, Session)


class Tickets:
    """Writes and reads them; what was written with another key is worth nothing."""

    def __init__(self, key: bytes, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._clock = clock

    def write(self, ticket: Attempt | Session, seconds: float) -> str:
        """Return `ticket` as text that is valid for so many seconds."""
        payload = {
            "use": type(ticket).__name__,
            "exp": int(self._clock() + seconds),
            "about": msgspec.to_builtins(ticket),
        }
        return str(_TOKENS.encode({"alg": "HS256"}, payload, self._key).decode("ascii"))

    def read(self, text: str, kind: type[Ticket]) -> Ticket | None:
        """Return the ticket of that `kind` that `text` is; `None` if it is none, or too old."""
        if not text or len(text) > LONGEST:
            return None
        options: dict[str, Any] = {
            "exp": {"essential": True},
            "use": {"essential": True, "value": kind.__name__},
        }
        try:
            claims = _TOKENS.decode(text, self._key, claims_options=options)
            claims.validate(now=int(self._clock()))
            return msgspec.convert(claims["about"], kind)
        except (JoseError, ValueError, TypeError, KeyError, RecursionError):
            return None


def load_key(folder: str) -> bytes:
    """Return the key in `folder`, which is made if there is none.

    With "", or if the folder cannot be used, it is a new one, and who has
    logged in has to do so again after a restart.
    """
    if not folder:
        return secrets.token_bytes(KEY_BYTES)
    file = Path(folder).expanduser() / "session.key"
    try:
        key = read_bounded(file, KEY_BYTES)
        if len(key) == KEY_BYTES and not file.stat().st_mode & 0o077:
            return key
        log.warning("the key of sessions is not one, or open to others: it is made anew")
    except FileNotFoundError:
        pass
    except OSError as error:
        log.error("the key of sessions cannot be read", file=str(file), reason=error.strerror)
    key = secrets.token_bytes(KEY_BYTES)
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file.unlink(missing_ok=True)
        replace_file(file, key, 0o600)
    except OSError as error:
        log.error(
            "the key of sessions cannot be kept; people have to log in again after a restart",
            file=str(file),
            reason=error.strerror,
        )
    return key
