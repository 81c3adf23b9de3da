"""HydraMesh's codec of messages, as a process that is asked."""

import re
from pathlib import Path

from .lisp_process import LispProcess


class MalformedError(Exception):
    """The codec takes what it was given for no message; the text is its reason."""


class LispCodec:
    """A process that answers what lisp_codec.lisp describes.

    Raises:
        CannotBuildError: if there is no SBCL.
    """

    def __init__(self) -> None:
        self._process = LispProcess(Path(__file__).with_suffix(".lisp"))

    def ask(self, what: str, form: type, body: bytes) -> bytes:
        """Return the answer to a request about a message of the class `form`.

        Raises:
            MalformedError: if `body` is no message.
            RuntimeError: if anything else went wrong.
        """
        answer = self._process.ask(f"{what}{lisp_name(form.__name__)}\n".encode() + body)
        if answer[:1] == b"=":
            return answer[1:]
        reason = answer[1:].decode()
        raise MalformedError(reason) if answer[:1] == b"-" else RuntimeError(reason)

    def close(self) -> None:
        """End the process."""
        self._process.close()


def lisp_name(name: str) -> str:
    """Return what a message type's name is in Lisp."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).upper()
