"""A task answered in token ids, through vLLM's completions.

What was delivered before goes in as tokens, so the answer goes on at the next one. The text is
made here of the tokens, as it is for transformers.
"""

import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Any, Protocol

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text.token_bytes import TokenBytes
from daiic.worker.engines.transformers_text.transcript import Transcript

Parts = AsyncGenerator[pb.Result, None]

_REASONS = {"stop": pb.FINISH_REASON_STOP, "length": pb.FINISH_REASON_LENGTH}
_ID = "token_id:"


class Server(Protocol):
    """The vLLM that holds the model."""

    def stream(self, body: Mapping[str, Any]) -> AsyncGenerator[Mapping[str, Any], None]:
        """Yield the events with which a completion is answered; closing cancels it."""


async def complete(
    server: Server,
    prompt: Sequence[int],
    delivered: pb.Resume,
    transcript: Transcript,
    fields: Mapping[str, Any],
    max_tokens: int,
    token_bytes: TokenBytes,
) -> Parts:
    """Yield the parts of the answer to `prompt`, after what was `delivered` of it.

    `transcript` is that of the answer, empty; `fields` are `request_fields`, and the answer has
    `max_tokens` in all.

    Raises:
        TaskError, EngineDied, EngineOutOfMemory: as `server` does; INTERNAL for an answer that
            vLLM gives up.
    """
    transcript.resume(delivered)
    usage = pb.Usage(prompt_tokens=len(prompt))
    wanted = fields.get("logprobs")
    logprobs: list[pb.TokenLogprobs] = []
    if not transcript.finish_reason:
        body = {
            **fields,
            "prompt": [*prompt, *delivered.tokens],
            "max_tokens": max_tokens - transcript.count,
        }
        async with contextlib.aclosing(server.stream(body)) as events:
            async for event in events:
                _note_usage(event, usage)
                choices = event.get("choices") or ()
                for choice in choices:
                    tokens = [int(token) for token in choice.get("token_ids") or ()]
                    told = _logprobs(choice, tokens, wanted, token_bytes)
                    before = transcript.count
                    for token in tokens:
                        transcript.push(token)
                    logprobs += told[: transcript.count - before]
                    _note_end(choice, transcript)
                if transcript.finish_reason:
                    if any(choice.get("finish_reason") is None for choice in choices):
                        break  # a stop string is ours to find: vLLM would go on
                    continue
                text, made = transcript.take()
                if made:
                    yield pb.Result(text=text, tokens=made, logprobs=logprobs)
                    logprobs = []
    transcript.end(pb.FINISH_REASON_STOP)
    usage.completion_tokens = transcript.count
    text, made = transcript.take()
    yield pb.Result(
        final=True,
        text=text,
        tokens=made,
        logprobs=logprobs,
        finish_reason=transcript.finish_reason,
        usage=usage,
    )


def _note_usage(event: Mapping[str, Any], usage: pb.Usage) -> None:
    details = (event.get("usage") or {}).get("prompt_tokens_details") or {}
    cached = int(details.get("cached_tokens") or 0)
    usage.cached_tokens = min(max(cached, usage.cached_tokens), usage.prompt_tokens)


def _note_end(choice: Mapping[str, Any], transcript: Transcript) -> None:
    reason = choice.get("finish_reason")
    if reason in _REASONS:
        transcript.end(_REASONS[reason])
    elif reason is not None and not transcript.finish_reason:
        raise TaskError(
            pb.INTERNAL, f"vLLM gave the answer up ({reason:.50})", "send the task again"
        )


def _logprobs(
    choice: Mapping[str, Any], tokens: Sequence[int], wanted: int | None, token_bytes: TokenBytes
) -> list[pb.TokenLogprobs]:
    """Return what vLLM tells of each of `tokens`, with the `wanted` likeliest ones."""
    told = choice.get("logprobs")
    if wanted is None or not told:
        return []
    result = []
    for token, logprob, others in zip(
        tokens, told["token_logprobs"], told["top_logprobs"], strict=False
    ):
        # The token itself is among them, even if it is not one of the likeliest.
        ranked = sorted((others or {}).items(), key=lambda other: -other[1])[:wanted]
        result.append(
            pb.TokenLogprobs(
                token=_logprob(token, logprob, token_bytes),
                likeliest=[
                    _logprob(int(name.removeprefix(_ID)), value, token_bytes)
                    for name, value in ranked
                ],
            )
        )
    return result


def _logprob(token: int, logprob: float, token_bytes: TokenBytes) -> pb.TokenLogprob:
    return pb.TokenLogprob(token=token, logprob=logprob, bytes=token_bytes.of(token))
