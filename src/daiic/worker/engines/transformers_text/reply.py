"""How the model's answer to one task is read, and what holds the model to its format."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import bad
from daiic.worker.engines.text.constraint import schema_in, without_anchors
from daiic.worker.engines.text.formats.events import Expected, Tool
from daiic.worker.engines.text.formats.lark import LarkRules, grammar_of
from daiic.worker.engines.text.formats.traits import Traits
from daiic.worker.engines.text.tools import Offer, described, offer_of
from daiic.worker.engines.transformers_text.grammar import JSON_OPTIONS, Grammar, Grammars
from daiic.worker.engines.transformers_text.reading import Reading, call_ids
from daiic.worker.limits import LIMITS

MAX_CALLS = LIMITS.calls
_PROMPT_END = 4096
"""Characters of a prompt that a reader may see."""
_ANY_OBJECT = {"type": "object"}


@dataclass(frozen=True, slots=True)
class Reply:
    """What reads an answer, and the grammar that it keeps to; none where there is nothing to do."""

    reading: Reading | None
    grammar: Grammar | None


class Replies:
    """Those of one model."""

    def __init__(self, tokenizer: Any, traits: Traits | None, grammars: Grammars) -> None:
        """`traits` are those of its chat template, if it has one."""
        self._traits = traits
        self._grammars = grammars
        self._marks: dict[str, int] = {}
        self._skipped: frozenset[int] = frozenset()
        if traits is not None:
            added = tokenizer.backend_tokenizer.get_added_tokens_decoder()
            self._marks = {
                str(token.content): number
                for number, token in added.items()
                if token.content and any(token.content in mark for mark in traits.form.marks)
            }
            special = {number for number, token in added.items() if token.special}
            self._skipped = frozenset(special.difference(self._marks.values()))

    def reply(self, task: pb.TextTask, prompt: str, tokens: Sequence[int], seed: int) -> Reply:
        """Return that to `task`, whose `prompt` has these `tokens`. It may take seconds.

        Raises:
            TaskError: BAD_REQUEST for what the model cannot be held to, UNSUPPORTED if it can be
                held to nothing of the kind.
        """
        traits = self._traits
        offer = offer_of(task) if task.messages else Offer(())
        told = bool(offer.tools) or (traits is not None and traits.thinks)
        if traits is None or not task.messages or not told:
            return Reply(None, self._grammars.compiled(task.constraint))
        tools = [described(tool) for tool in offer.tools]
        grammar, is_held = self._grammar(task, traits, offer, tools, prompt)
        expected = Expected(
            {tool.name: tool for tool in tools},
            is_held=is_held,
            prompt=prompt[-_PROMPT_END:],
        )
        reading = Reading(
            traits.form.read(traits.form, expected),
            self._skipped,
            call_ids(seed, tokens, traits.form.id_length),
            1 if task.one_call else MAX_CALLS,
        )
        return Reply(reading, grammar)

    def _grammar(
        self, task: pb.TextTask, traits: Traits, offer: Offer, tools: Sequence[Tool], prompt: str
    ) -> tuple[Grammar | None, bool]:
        """Return what the answer keeps to, and whether its calls can be nothing but whole.

        `tools` are those of the `offer`.
        """
        must = offer.must_call or any(tool.strict for tool in offer.tools)
        if not traits.form.can_hold:
            if must:
                raise TaskError(
                    pb.UNSUPPORTED,
                    "this model cannot be held to calls of tools",
                    "leave `tool_choice` at auto, and `strict` out",
                )
            return self._grammars.compiled(task.constraint), False
        constrained = task.constraint.WhichOneof("form") is not None
        if not tools and not constrained:
            return None, False
        try:
            return self._composed(task, traits, tools, prompt, must_call=offer.must_call), True
        except TaskError:
            if not tools:
                raise
        # One of the tools has a schema that cannot be used.
        tools = self._usable(tools, offer)
        return self._composed(task, traits, tools, prompt, must_call=offer.must_call), True

    def _composed(
        self,
        task: pb.TextTask,
        traits: Traits,
        tools: Sequence[Tool],
        prompt: str,
        *,
        must_call: bool,
    ) -> Grammar | None:
        numbered = {
            mark: number
            for mark, number in self._marks.items()
            if self._grammars.matches_no_text(number)
        }
        rules = LarkRules(numbered, JSON_OPTIONS)
        source = grammar_of(
            traits.form,
            rules,
            tools,
            must_call=must_call,
            prompt=prompt,
            answer=_answer(task.constraint, rules),
        )
        return self._grammars.compiled(pb.Constraint(grammar=source))

    def _usable(self, tools: Sequence[Tool], offer: Offer) -> list[Tool]:
        """Return `tools`, with any object as the arguments of those whose schema is of no use.

        Raises:
            TaskError: BAD_REQUEST if that of a strict one is, or if they take too much together.
        """
        rules = [LarkRules({}, JSON_OPTIONS) for _ in tools]
        faults = self._grammars.faults(
            [lark.grammar(lark.json(tool.schema)) for lark, tool in zip(rules, tools, strict=True)]
        )
        for tool, asked, fault in zip(tools, offer.tools, faults, strict=True):
            if fault and asked.strict:
                raise bad(
                    f"`{tool.name}.parameters` cannot be kept to: {fault}",
                    "use what llguidance knows of JSON Schema, or leave `strict` out",
                )
        return [
            Tool(tool.name, _ANY_OBJECT) if fault else tool
            for tool, fault in zip(tools, faults, strict=True)
        ]


def _answer(constraint: pb.Constraint, rules: LarkRules) -> str:
    """Return what matches an answer that keeps to `constraint`; empty if it may be any text."""
    match constraint.WhichOneof("form"):
        case "json":
            return rules.json(_ANY_OBJECT) if constraint.json else ""
        case "json_schema":
            return rules.json(schema_in(constraint.json_schema, "json_schema"))
        case "regex":
            return rules.regex(without_anchors(constraint.regex))
        case "grammar":
            raise TaskError(
                pb.UNSUPPORTED,
                "a `grammar` cannot be kept to together with tools or reasoning",
                "send a JSON Schema or a regular expression, or leave out the other",
            )
    return ""
