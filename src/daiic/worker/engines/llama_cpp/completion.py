"""A task answered in token ids, through llama-server's completion endpoint.

What was delivered before goes in as tokens, so the answer goes on at the next one.
"""

import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.conversation import messages_of
from daiic.worker.engines.llama_cpp.rendering import Rendering, Server
from daiic.worker.engines.llama_cpp.sampling import logprobs_in
from daiic.worker.engines.text.checks import empty_prompt
from daiic.worker.engines.text.stop_strings import StopStrings

PATH = "/completion"

Parts = AsyncGenerator[pb.Result, None]


async def prompt_of(server: Server, task: pb.TextTask, rendering: Rendering) -> list[int]:
    """Return the tokens of the conversation or the prompt in `task`.

    Raises:
        TaskError: BAD_REQUEST if there are none, or the template cannot take it.
    """
    if task.prompt_tokens:
        return list(task.prompt_tokens)
    if task.messages:
        conversation = {"messages": messages_of(task)}
        rendered = await rendering.answered(server, "/apply-template", conversation)
        text = str(rendered.get("prompt", ""))
    else:
        text = task.prompt
    chats = bool(task.messages)  # a template has put in the tokens with which texts begin
    body = {"content": text, "add_special": not chats, "parse_special": chats}
    tokens = (await server.post("/tokenize", body)).get("tokens")
    if not text or not isinstance(tokens, list) or not tokens:
        raise empty_prompt()
    return [int(token) for token in tokens]


async def complete(
    server: Server,
    task: pb.Task,
    prompt: Sequence[int],
    fields: Mapping[str, Any],
    count_guesses: Callable[[Mapping[str, Any]], None],
) -> Parts:
    """Yield the parts of the answer to `task`, after what was delivered of it.

    `prompt` is `prompt_of` it, and `fields` are those of the request that come from its
    parameters and constraint; `count_guesses` gets the answer's timings.
    """
    delivered = list(task.resume.tokens)
    wanted = task.text.sampling.logprobs if task.text.sampling.HasField("logprobs") else None
    stop = StopStrings(task.text.stop)
    count = len(delivered)
    held = ""
    if delivered:
        said = await server.post("/detokenize", {"tokens": delivered})
        known = stop.push(str(said.get("content", "")))
        # Special tokens in it are not part of a text: then nothing was held back that is known.
        held = known.removeprefix(task.resume.text) if known.startswith(task.resume.text) else ""
    body = {**fields, "prompt": [*prompt, *delivered], "return_tokens": True, "cache_prompt": True}
    reason, usage = pb.FINISH_REASON_STOP, pb.Usage(prompt_tokens=len(prompt))
    if not body["n_predict"]:
        reason = pb.FINISH_REASON_LENGTH
    elif not stop.found:
        async with contextlib.aclosing(server.stream(PATH, body)) as events:
            async for event in events:
                if event.get("stop"):
                    if event.get("stop_type") == "limit":
                        reason = pb.FINISH_REASON_LENGTH
                    timings = event.get("timings") or {}
                    count_guesses(timings)
                    usage.cached_tokens = min(int(timings.get("cache_n", 0)), len(prompt))
                    continue  # to the end, after which it is known to have been heard
                text = str(event.get("content", ""))
                tokens = [int(token) for token in event.get("tokens") or ()]
                made = int(event.get("tokens_predicted", 0)) - (count - len(delivered))
                if made > len(tokens):  # it tells only the last token of a character
                    tokens = await _all_of(server, text, tokens, made)
                count += len(tokens)
                part = pb.Result(text=held + stop.push(text), tokens=tokens)
                held = ""
                if wanted is not None:
                    part.logprobs.extend(
                        logprobs_in(event.get("completion_probabilities") or (), wanted)
                    )
                yield part
                if stop.found:
                    reason = pb.FINISH_REASON_STOP
                    break
    usage.completion_tokens = count
    yield pb.Result(
        final=True,
        text=held + ("" if stop.found else stop.finish()),
        finish_reason=reason,
        usage=usage,
    )


async def _all_of(server: Server, text: str, told: list[int], made: int) -> list[int]:
    reply = await server.post("/tokenize", {"content": text})
    tokens = [int(token) for token in reply.get("tokens") or ()]
    return tokens if len(tokens) == made and tokens[-len(told) :] == told else told
