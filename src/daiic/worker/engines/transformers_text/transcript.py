"""From tokens to what is sent of them, a piece at a time."""

from collections.abc import Collection, Sequence

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.stop_strings import StopStrings


class Transcript:
    """The answer of one task so far, and why it ended.

    Text comes out only as whole characters, and not while it may be the
    beginning of a stop string; joined, the pieces are the same however the
    tokens came.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        stop: Sequence[str],
        end_tokens: Collection[int],
        max_tokens: int,
    ) -> None:
        self._tokenizer = tokenizer
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._stop = StopStrings(stop)
        self._end_tokens = end_tokens
        self._max_tokens = max_tokens
        self._text: list[str] = []
        self._tokens: list[int] = []
        self._to_skip = 0
        self.count = 0
        self.finish_reason = pb.FINISH_REASON_UNSPECIFIED

    def resume(self, delivered: pb.Resume) -> None:
        """Read what an earlier run delivered, so that only what follows comes out."""
        for token in delivered.tokens:
            self.push(token)
        self._tokens.clear()
        self._to_skip = len(delivered.text)

    def push(self, token: int) -> None:
        """Add the next token; after the end of the text it is ignored."""
        if self.finish_reason:
            return
        self.count += 1
        self._tokens.append(token)
        if token in self._end_tokens:
            self._end(pb.FINISH_REASON_STOP)
            return
        piece = self._decoder.step(self._tokenizer, token)
        if piece:
            self._text.append(self._stop.push(piece))
        if self._stop.found:
            self._end(pb.FINISH_REASON_STOP)
        elif self.count >= self._max_tokens:
            self._end(pb.FINISH_REASON_LENGTH)

    def end(self, reason: pb.FinishReason) -> None:
        """End the text here, for a reason that its tokens do not show."""
        if not self.finish_reason:
            self._end(reason)

    def take(self) -> tuple[str, list[int]]:
        """Return the text and the tokens that are new since the last call."""
        text, tokens = "".join(self._text), self._tokens
        self._text, self._tokens = [], []
        skipped = min(self._to_skip, len(text))
        self._to_skip -= skipped
        return text[skipped:], tokens

    def _end(self, reason: pb.FinishReason) -> None:
        self.finish_reason = reason
        self._text.append(self._stop.finish())
