"""What a chat template knows, told from its text: it is a program, and is not run for that."""

import re
from dataclasses import dataclass
from typing import Any

from daiic.worker.engines.text.formats.families import format_of, takes_tools
from daiic.worker.engines.text.formats.format import Format

_SWITCHES = ("enable_thinking", "thinking")
_EFFORT = "reasoning_effort"
_REASONING_KEYS = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True, slots=True)
class Traits:
    """What may be asked of a model with this template.

    `tools`: it shows them, and calls can be told in what the model writes. `thinks`: so can
    reasoning. `effort`: it is told how much is wanted; `switches` are variables that turn it on and
    off. `reasoning_key` is where it looks for the reasoning of a message, if it does.
    """

    form: Format
    tools: bool
    thinks: bool
    effort: bool
    switches: tuple[str, ...]
    reasoning_key: str


def traits_of(template: str, described: Any = None) -> Traits:
    """Return those of a `template` whose tokenizer has `described` as its `response_template`."""
    form = format_of(template, described)
    keys = [key for key in _REASONING_KEYS if _names(template, rf"[.]{key}|\['{key}'\]|\"{key}\"")]
    return Traits(
        form,
        tools=form.can_call and takes_tools(template),
        thinks=form.can_reason,
        effort=_names(template, _EFFORT),
        switches=tuple(name for name in _SWITCHES if _names(template, rf"(?<![.'\"]){name}")),
        reasoning_key=keys[0] if keys else "",
    )


def _names(template: str, name: str) -> bool:
    return re.search(rf"(?:{name})(?!\w)", template) is not None
