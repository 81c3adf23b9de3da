"""What came from elsewhere, as text that is safe to show on a terminal or in a log.

Names of workers, models and devices, messages of errors and what models write
come from other machines. A terminal obeys escape sequences in them, a log takes
a line break for a new entry, and direction marks make a name look like another.
"""

import re
from typing import Protocol

NAME = 256
"""Characters that are shown of a name."""
MESSAGE = 4000
"""Characters that are shown of a message."""

_CONTROLS = r"\x00-\x08\x0b-\x1f\x7f-\x9f"
_DIRECTIONS = r"\u2028-\u202e\u2066-\u206f"
"""Line and paragraph separators; embeddings, overrides and isolates of text direction."""
_UNSEEN = r"\xad\u061c\u180e\u200b-\u200f\u2060-\u2065\ufeff\ufff9-\ufffb\U000e0000-\U000e0fff"
"""Characters without a glyph: two names that differ in them alone look the same."""
_SURROGATES = r"\ud800-\udfff"

_IN_A_LINE = re.compile(rf"[\t\n{_CONTROLS}{_DIRECTIONS}{_UNSEEN}{_SURROGATES}]")
# Text may have lines, and its letters joined or its direction marked as its script needs it.
_IN_A_TEXT = re.compile(rf"[{_CONTROLS}{_DIRECTIONS}{_SURROGATES}]")


class _Enum(Protocol):
    def Name(self, number: int) -> str: ...


def shown(text: str, most: int = NAME) -> str:
    """Return `text` as one line of `most` characters or fewer, what cannot be seen escaped."""
    return _IN_A_LINE.sub(_escaped, _cut(text, most))


def shown_text(text: str, most: int | None = None) -> str:
    """Return a text of several lines; a part of a stream may be given by itself."""
    text = text.replace("\r", "")
    return _IN_A_TEXT.sub(_escaped, text if most is None else _cut(text, most))


def word(enum: _Enum, value: int) -> str:
    """Return the name of an enum's value in lower case; newer members send values unknown here."""
    try:
        return enum.Name(value).lower()
    except ValueError:
        return "unknown"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return (
        f"\\x{code:02x}"
        if code < 0x100
        else f"\\u{code:04x}"
        if code < 0x10000
        else f"\\U{code:08x}"
    )
