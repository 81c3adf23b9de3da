"""What the text of a model is taken apart into."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the answer itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A piece of what is thought before it."""

    text: str


@dataclass(frozen=True, slots=True)
class CallBegins:
    """From here on, the tool `name` is called; its arguments follow."""

    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """A piece of the JSON of the call that began last."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnds:
    """The arguments of the call that began last are whole."""


Event = Text | Reasoning | CallBegins | Arguments | CallEnds


@dataclass(frozen=True, slots=True)
class Call:
    """A whole call; `arguments` are JSON, an object."""

    name: str
    arguments: str

    def events(self) -> Iterator[Event]:
        """Yield it as it would be read piece by piece."""
        yield CallBegins(self.name)
        yield Arguments(self.arguments)
        yield CallEnds()


class Reader(Protocol):
    """Takes the text of one answer apart, into the same whatever the pieces are that it comes in.

    `push` takes the next piece, `finish` is for the end. Neither raises, whatever the text is:
    what is no whole call of a known tool is text. `is_reasoning` says what the text is at now.
    """

    @property
    def is_reasoning(self) -> bool:
        """Whether what comes now is reasoning."""

    def push(self, piece: str) -> list[Event]:
        """Return what `piece` adds."""

    def finish(self) -> list[Event]:
        """Return what was held back."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as formats see it: `schema` is the JSON Schema of its arguments."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)


Tools = Mapping[str, Tool]
"""Those that may be called, by name."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a reader may find in an answer.

    `tools` are those that may be called; none: calls are not looked for. `is_held` says that
    the model cannot write anything but the format: arguments are then passed on as they come.
    `prompt` is what the text continues, or the end of it: it may have begun the reasoning.
    """

    tools: Tools = field(default_factory=dict)
    is_held: bool = False
    prompt: str = ""
