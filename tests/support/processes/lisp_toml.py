"""HydraMesh's reader of TOML, as a process that is asked."""

import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

from .built import HYDRAMESH, CannotBuildError


class LispToml:
    """A process that answers what lisp_toml.lisp describes.

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

    def loads(self, text: str) -> Any:
        """Return what `text` means, in pairs of a type and a value.

        Raises:
            ValueError: if it is no TOML.
            RuntimeError: if anything else went wrong.
        """
        assert self._process.stdin and self._process.stdout and self._process.stderr
        request = text.encode()
        self._process.stdin.write(struct.pack(">I", len(request)) + request)
        self._process.stdin.flush()
        header = self._process.stdout.read(4)
        if len(header) < 4:
            raise RuntimeError(self._process.stderr.read().decode(errors="replace")[-4000:])
        answer = self._process.stdout.read(struct.unpack(">I", header)[0]).decode()
        if answer.startswith("-"):
            raise ValueError(answer[1:])
        if answer.startswith("!"):
            raise RuntimeError(answer[1:])
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
