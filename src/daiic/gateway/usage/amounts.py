"""What is counted of the use of models."""

import msgspec

from daiic.wire import daiic_pb2 as pb

LONGEST = 1e9
"""Seconds of a recording; what a worker says beyond is not counted."""
SAMPLE_BYTES = 2
"""Of `Speech.samples`."""


class Amounts(msgspec.Struct, omit_defaults=True):
    """How much was used.

    Cached tokens are some of the prompts', reasoning tokens some of the
    completions'. `audio_seconds` are those of recordings and of speech.
    """

    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    images: int = 0
    audio_seconds: float = 0.0
    embeddings: int = 0

    @property
    def tokens(self) -> int:
        """Those that limits are of."""
        return self.prompt_tokens + self.completion_tokens

    def add(self, more: "Amounts") -> None:
        """Add `more`."""
        self.requests += more.requests
        self.errors += more.errors
        self.prompt_tokens += more.prompt_tokens
        self.completion_tokens += more.completion_tokens
        self.cached_tokens += more.cached_tokens
        self.reasoning_tokens += more.reasoning_tokens
        self.images += more.images
        self.audio_seconds += more.audio_seconds
        self.embeddings += more.embeddings

    def count_usage(self, usage: pb.Usage) -> None:
        """Set the tokens to those of an answer that is complete."""
        self.prompt_tokens = usage.prompt_tokens
        self.completion_tokens = usage.completion_tokens
        self.cached_tokens = usage.cached_tokens
        self.reasoning_tokens = usage.reasoning_tokens

    def count_made(self, part: pb.Result) -> None:
        """Add what is in a part of an answer, its tokens apart."""
        self.images += len(part.images)
        self.embeddings += len(part.embeddings)
        if 0 < part.seconds < LONGEST:  # not a number, and nothing endless
            self.audio_seconds += part.seconds
        if part.speech.rate:
            self.audio_seconds += len(part.speech.samples) / SAMPLE_BYTES / part.speech.rate


COUNTED = Amounts.__struct_fields__
