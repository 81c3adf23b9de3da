"""What a family's format is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from daiic.worker.engines.text.formats.events import Call, Expected, Reader, Tool, Tools


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the names and the arguments of calls, to the letter.

    A call is `before`, its name, `middle`, the JSON of its arguments, `after`. The first follows
    `lead`, after the last comes `tail`; between two of them stands `between`. None: each call has
    a beginning and an end mark of its own.
    """

    before: str
    middle: str
    after: str
    lead: str = ""
    tail: str = ""
    between: str | None = None


class Rules(Protocol):
    """The rules of a grammar in Lark's notation, as they are collected."""

    def literal(self, text: str) -> str:
        """Return what matches `text` to the letter, special tokens in it included."""

    def json(self, schema: Any) -> str:
        """Return what matches JSON of `schema`."""

    def up_to(self, mark: str) -> str:
        """Return what matches any text and then `mark`."""

    def rule(self, body: str, attributes: str = "") -> str:
        """Return the name of a new rule."""


@dataclass(frozen=True, slots=True)
class CallSyntax:
    """How calls are written: from `begin` to `end`, or to the end of the answer if that is empty.

    `parse` returns the calls in what is between, as lenient as the models are inexact, or none if
    it is anything else. An answer that begins with `bare` is a call without `begin`. In a `frame`
    arguments are JSON; else `rules` returns the Lark of what is between, of a call of a tool.
    `joint` stands between an end and the next beginning. `marks` are further strings that may be
    special tokens.
    """

    begin: str
    end: str
    parse: Callable[[str, Tools], Sequence[Call]]
    frame: Frame | None = None
    rules: "Callable[[Tool, Rules], str] | None" = None
    bare: str = ""
    joint: str = ""
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """What a family writes: `reasoning` between two marks, and calls.

    `marks` are those of its strings that may be special tokens, which are then kept in the text.
    `read` makes a reader, `id_length` is of calls' ids, where the family's template wants one.
    `can_call`, `can_reason` and `can_hold` say whether calls and reasoning can be told from text,
    and whether a grammar can hold the model to it.
    """

    name: str
    read: "Callable[[Format, Expected], Reader]"
    reasoning: tuple[str, str] | None = None
    calls: CallSyntax | None = None
    marks: tuple[str, ...] = ()
    id_length: int = 0
    can_call: bool = False
    can_reason: bool = False
    can_hold: bool = False

    def begins_in_reasoning(self, prompt: str) -> bool:
        """Return whether `prompt` has begun the reasoning of the answer."""
        return self.reasoning is not None and prompt.rstrip().endswith(self.reasoning[0].rstrip())
