"""Where a JSON object ends in a text that comes in pieces."""


class JsonSpan:
    """Follows an object from its first brace to its last; that it is JSON is not looked at."""

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def end(self, piece: str) -> int:
        """Return how many characters of `piece` belong to it and end it; -1 while it goes on."""
        for place, character in enumerate(piece):
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                self._escaped = character == "\\"
                self._in_string = character != '"'
            elif character == '"':
                self._in_string = True
            elif character in "{[":
                self._depth += 1
            elif character in "}]":
                self._depth -= 1
                if self._depth <= 0:
                    return place + 1
        return -1
