"""A process of HydraMesh's Lisp that tests ask, in frames."""

import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

from .built import HYDRAMESH, NO_SBCL, CannotBuildError


class LispProcess:
    """A process that runs a script; both sides send frames: a length of 4 octets, and so many.

    Raises:
        CannotBuildError: if there is no SBCL.
    """

    def __init__(self, script: Path) -> None:
        if shutil.which("sbcl") is None:
            raise CannotBuildError(NO_SBCL)
        self._said = tempfile.TemporaryFile()  # noqa: SIM115, as long as the process
        self._process = subprocess.Popen(
            [HYDRAMESH / "build.sh", "lisp", "--load", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
        )

    def write(self, frame: bytes) -> None:
        """Send a frame."""
        assert self._process.stdin
        try:
            self._process.stdin.write(struct.pack(">I", len(frame)) + frame)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # `read` tells why

    def read(self) -> bytes:
        """Return the next frame.

        Raises:
            RuntimeError: if the process has ended.
        """
        assert self._process.stdout
        header = self._process.stdout.read(4)
        if len(header) < 4:
            raise RuntimeError(f"it ended with {self._process.wait()}: {self.said()[-4000:]}")
        return self._process.stdout.read(struct.unpack(">I", header)[0])

    def ask(self, frame: bytes) -> bytes:
        """Send a frame, and return the one that answers it."""
        self.write(frame)
        return self.read()

    def said(self) -> str:
        """Return what it has written to standard error."""
        self._said.seek(0)
        return self._said.read().decode(errors="replace")

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._said.close()
