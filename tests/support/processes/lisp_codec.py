"""HydraMesh's codec of messages, as a process that is asked."""

import re
import shutil
import struct
import subprocess
from pathlib import Path

from .built import HYDRAMESH, CannotBuildError


class MalformedError(Exception):
    """The codec takes what it was given for no message; the text is its reason."""


class LispCodec:
    """A process that answers what lisp_codec.lisp describes.

    Raises:
        CannotBuildError: if there is no SBCL.
    """

    def __init__(self) -> None:
        if shutil.which("sbcl") is None:
            raise CannotBuildError("there is no sbcl (apt install sbcl; src/hydramesh/README.md)")
        self._process = subprocess.Popen(
            [HYDRAMESH / "build.sh", "lisp", "--load", Path(__file__).with_suffix(".lisp")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._end = ""

    def ask(self, what: str, form: type, body: bytes) -> bytes:
        """Return the answer to a request about a message of the class `form`.

        Raises:
            MalformedError: if `body` is no message.
            RuntimeError: if anything else went wrong.
        """
        assert self._process.stdin and self._process.stdout and self._process.stderr
        request = f"{what}{lisp_name(form.__name__)}\n".encode() + body
        try:
            self._process.stdin.write(struct.pack(">I", len(request)) + request)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        header = self._process.stdout.read(4)
        if len(header) < 4:
            self._end = self._end or self._process.stderr.read().decode(errors="replace")[-4000:]
            raise RuntimeError(f"it ended with {self._process.wait()}: {self._end}")
        answer = self._process.stdout.read(struct.unpack(">I", header)[0])
        if answer[:1] == b"=":
            return answer[1:]
        reason = answer[1:].decode()
        raise MalformedError(reason) if answer[:1] == b"-" else RuntimeError(reason)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def lisp_name(name: str) -> str:
    """Return what a message type's name is in Lisp."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).upper()
