"""How likely the tokens of an answer were, as a chat tells it."""

import msgspec

from daiic.wire import daiic_pb2 as pb


class TopLogprob(msgspec.Struct, frozen=True):
    """A token that could have come, and how likely it was."""

    token: str
    logprob: float
    bytes: list[int]

    @classmethod
    def of(cls, token: pb.TokenLogprob) -> "TopLogprob":
        """Return what `token` says."""
        return cls(token_text(token), token.logprob, list(token.bytes))


class TokenLogprob(msgspec.Struct, frozen=True):
    """A token of the answer, how likely it was, and the likeliest ones in its place."""

    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[TopLogprob]


class Logprobs(msgspec.Struct, frozen=True):
    """The tokens of an answer, or of what an event adds to it."""

    content: list[TokenLogprob]
    refusal: None = None

    @classmethod
    def of(cls, part: pb.Result) -> "Logprobs | None":
        """Return what `part` tells; `None` if it tells nothing."""
        if not part.logprobs:
            return None
        return cls(
            [
                TokenLogprob(
                    token_text(told.token),
                    told.token.logprob,
                    list(told.token.bytes),
                    [TopLogprob.of(other) for other in told.likeliest],
                )
                for told in part.logprobs
            ]
        )


def token_text(token: pb.TokenLogprob) -> str:
    """Return the text of `token`; what is only a part of a character is shown as U+FFFD."""
    return token.bytes.decode("utf-8", "replace")
