"""One answer, from its first token to its last, in as many generators as it takes."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text.current_generator import CurrentGenerator
from daiic.worker.engines.transformers_text.guide import Guide, Likelihoods
from daiic.worker.engines.transformers_text.text_generator import TextGenerator
from daiic.worker.engines.transformers_text.token_bytes import TokenBytes
from daiic.worker.engines.transformers_text.token_streams import TokenStream
from daiic.worker.engines.transformers_text.transcript import Transcript


@dataclass(frozen=True, slots=True)
class Begun:
    """A text in work: the `stream` of its new tokens, chosen as the `guide` says, if there is one.

    The `guide` also tells likelihoods if they are asked for.
    """

    generator: TextGenerator
    stream: TokenStream
    guide: Guide | None


Begin = Callable[[list[int]], Awaitable[Begun]]
"""Has a text generated that begins with these tokens, of the prompt and of the answer so far."""


async def parts_of(
    prompt: list[int],
    resume: pb.Resume,
    transcript: Transcript,
    *,
    begin: Begin,
    current: CurrentGenerator,
    token_bytes: TokenBytes,
) -> AsyncGenerator[pb.Result, None]:
    """Yield the parts of the answer to the tokens of `prompt`, after what `resume` has of it.

    The cache of `current` grows when this makes it full. Closed, it frees what the text takes.
    """
    transcript.resume(resume)
    cached: int | None = None
    logprobs: list[pb.TokenLogprobs] = []
    if not transcript.finish_reason:
        so_far = prompt + list(resume.tokens)
        begun: Begun | None = None
        try:
            while not transcript.finish_reason:
                # It ends before the text where it had to leave a cache that was too small.
                if begun is None or begun.stream.ended:
                    begun = await begin(so_far)
                new = await begun.stream.new_tokens()
                guide = begun.guide
                if guide is not None:
                    guide.check()
                for token in new:
                    transcript.push(token)
                    if guide is not None and guide.rules.logprobs is not None:
                        likelihoods = guide.likelihoods(len(so_far))
                        logprobs.append(_logprobs(likelihoods, token_bytes))
                    so_far.append(token)
                if cached is None and begun.stream.begun:
                    cached = min(begun.stream.cached, len(prompt))
                if not transcript.finish_reason:
                    part = transcript.take_part()
                    if part.tokens:
                        part.logprobs.extend(logprobs)
                        yield part
                        logprobs = []
                    await current.grow_if_crowded(begun.generator)
        finally:
            if begun is not None:
                begun.generator.cancel(begun.stream)
            current.shrink_later()
    part = transcript.take_part()
    part.final = True
    part.logprobs.extend(logprobs[: len(part.tokens)])
    part.finish_reason = transcript.finish_reason
    part.usage.CopyFrom(
        pb.Usage(
            prompt_tokens=len(prompt),
            completion_tokens=transcript.count,
            reasoning_tokens=transcript.reasoning_count,
            cached_tokens=cached or 0,
        )
    )
    yield part


def _logprobs(likelihoods: Likelihoods, token_bytes: TokenBytes) -> pb.TokenLogprobs:
    chosen, *likeliest = [
        pb.TokenLogprob(token=token, logprob=logprob, bytes=token_bytes.of(token))
        for token, logprob in likelihoods
    ]
    return pb.TokenLogprobs(token=chosen, likeliest=likeliest)
