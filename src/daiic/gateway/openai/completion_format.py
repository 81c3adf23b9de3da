"""How continuations of texts are written down."""

from collections.abc import Sequence

import msgspec

from daiic.gateway.http.response_writer import EventStream, server_sent_event
from daiic.gateway.openai.about import About
from daiic.gateway.openai.chat_format import DONE
from daiic.gateway.openai.errors import error_body
from daiic.gateway.openai.schema.completions import (
    Completion,
    CompletionChoice,
    CompletionLogprobs,
)
from daiic.gateway.openai.schema.logprobs import token_text
from daiic.gateway.openai.schema.text import Usage, finish_reason
from daiic.wire import daiic_pb2 as pb


class CompletionFormat(EventStream):
    """The answers to one request for completions."""

    __slots__ = ("_about", "_offsets", "_wants_usage")

    def __init__(self, request_id: str, model: str, *, wants_usage: bool) -> None:
        super().__init__(error_body)
        self._about = About(f"cmpl-{request_id}", model)
        self._offsets: dict[int, int] | None = None
        """Characters of each answer so far, if log probabilities are told."""
        self._wants_usage = wants_usage

    def part(self, index: int, part: pb.Result) -> bytes:
        self._about.note(index, part)
        events = []
        if part.text or part.logprobs:
            choice = CompletionChoice(index, part.text, logprobs=self._logprobs(index, part))
            events.append(self._event(index, [choice]))
        if part.final:
            events.append(self._event(index, [CompletionChoice(index, "", finish_reason(part))]))
        return b"".join(events)

    def end(self, usage: pb.Usage) -> bytes:
        return (self._event(0, [], Usage.of(usage)) if self._wants_usage else b"") + DONE

    def whole(self, results: Sequence[pb.Result], usage: pb.Usage) -> bytes:
        choices = [
            CompletionChoice(
                index, result.text, finish_reason(result), self._logprobs(index, result)
            )
            for index, result in enumerate(results)
        ]
        self._about.note(0, results[0])
        return msgspec.json.encode(Completion(*self._about.of(0), choices, Usage.of(usage)))

    def _event(
        self, index: int, choices: list[CompletionChoice], usage: Usage | None = None
    ) -> bytes:
        told = Completion(*self._about.of(index), choices, usage)
        return server_sent_event(msgspec.json.encode(told))

    def _logprobs(self, index: int, part: pb.Result) -> CompletionLogprobs | None:
        if not part.logprobs:
            return None
        if self._offsets is None:
            self._offsets = {}
        offset, offsets, tokens = self._offsets.get(index, 0), [], []
        for told in part.logprobs:
            offsets.append(offset)
            tokens.append(token_text(told.token))
            offset += len(tokens[-1])
        self._offsets[index] = offset
        return CompletionLogprobs(
            tokens,
            [told.token.logprob for told in part.logprobs],
            [
                {token_text(other): other.logprob for other in told.likeliest}
                for told in part.logprobs
            ],
            offsets,
        )
