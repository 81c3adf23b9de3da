"""HydraMesh's reader of TOML, as a process that is asked."""

import json
from pathlib import Path
from typing import Any

from .lisp_process import LispProcess


class LispToml:
    """A process that answers what lisp_toml.lisp describes.

    Raises:
        CannotBuildError: if there is no SBCL.
    """

    def __init__(self) -> None:
        self._process = LispProcess(Path(__file__).with_suffix(".lisp"))

    def loads(self, text: str) -> Any:
        """Return what `text` means, in pairs of a type and a value.

        Raises:
            ValueError: if it is no TOML.
            RuntimeError: if anything else went wrong.
        """
        answer = self._process.ask(text.encode()).decode()
        if answer.startswith("-"):
            raise ValueError(answer[1:])
        if answer.startswith("!"):
            raise RuntimeError(answer[1:])
        return json.loads(answer)

    def close(self) -> None:
        """End the process."""
        self._process.close()
