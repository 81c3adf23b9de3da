"""What an API has to say of how it writes answers down."""

from collections.abc import Sequence
from typing import Protocol

from daiic.gateway.http.response_writer import StreamFormat
from daiic.wire import daiic_pb2 as pb


class AnswerFormat(StreamFormat, Protocol):
    """How an API writes down the answers to one request; an `index` tells them apart.

    One is made for each request, so it may remember what it has written. Of a stream it gets
    every part that says something, in order; no part is ever taken back.
    """

    def part(self, index: int, part: pb.Result) -> bytes:
        """Return what goes to the client for `part`; nothing, if the API does not tell it.

        A part may have text, reasoning, parts of calls and log probabilities, all at once;
        the last one is `final`. The first has the `model_name` of the model that answers if
        that is not the one asked for, which is fit to be shown, as are those of `whole`.
        """

    def end(self, usage: pb.Usage) -> bytes:
        """Return what ends a stream; `usage` is that of all answers."""

    def whole(self, results: Sequence[pb.Result], usage: pb.Usage) -> bytes:
        """Return the body of a response that is not streamed."""
