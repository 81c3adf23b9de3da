"""A file that a form brings."""


class Upload:
    """`name` and `type` are what the client says of `data`; either may be empty.

    Not a dataclass, because msgspec would take one from fields of text too.
    """

    __slots__ = ("data", "name", "type")

    def __init__(self, data: bytes, name: str, type: str) -> None:
        self.data = data
        self.name = name
        self.type = type

    def take(self) -> bytes:
        """Return the content and let go of it; what it goes into counts in its place."""
        data, self.data = self.data, b""
        return data
