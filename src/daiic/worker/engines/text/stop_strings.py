"""Cutting a text where the first of some strings in it is complete."""

from collections.abc import Sequence

from daiic.worker.engines.text.formats.marks import begun


class StopStrings:
    """Passes a text on piece by piece, up to a stop string, of which it passes nothing.

    The text ends where the stop string begins that is complete first; it does
    not matter into which pieces the text came divided.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self._strings = strings
        self._held = ""
        self.found = False

    def push(self, piece: str) -> str:
        """Return what is known to belong to the text now that `piece` follows."""
        if self.found:
            return ""
        if not self._strings:
            return piece
        text = self._held + piece
        complete = [
            (start + len(string), start)
            for string in self._strings
            if (start := text.find(string)) >= 0
        ]
        if complete:
            self.found = True
            self._held = ""
            return text[: min(complete)[1]]
        beginning = begun(self._strings, text)
        self._held = text[len(text) - beginning :]
        return text[: len(text) - beginning]

    def finish(self) -> str:
        """Return what was held back: no stop string follows from it any more."""
        held, self._held = self._held, ""
        return held
