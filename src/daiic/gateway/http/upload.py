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
