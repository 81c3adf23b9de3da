"""Embeddings of texts, as llama-server makes them."""

from collections.abc import Sequence
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.rendering import Server
from daiic.worker.engines.text.checks import check_prompt_tokens


async def embed(server: Server, task: pb.EmbedTask, context: int, vocabulary: int) -> pb.Result:
    """Return the whole answer: one embedding, of length 1, for each of the inputs.

    The model takes texts of `context` tokens at most, of a `vocabulary` of so many.

    Raises:
        TaskError: BAD_REQUEST for an empty or too long text.
    """
    tokens = [list(given.tokens) for given in task.token_inputs]
    inputs: list[str] | list[list[int]] = tokens if tokens else list(task.inputs)
    if not inputs or not all(inputs):
        raise TaskError(pb.BAD_REQUEST, "there is no text to embed", "send texts as `inputs`")
    if tokens and task.inputs:
        raise TaskError(pb.BAD_REQUEST, "there are texts and tokens", "send one of them")
    check_prompt_tokens([token for given in tokens for token in given], vocabulary)
    try:
        reply = await server.post("/v1/embeddings", {"input": inputs})
    except TaskError:
        await refuse_long(server, inputs, context)
        raise
    data: Any = reply.get("data") or []
    vectors = sorted(data, key=lambda one: int(one["index"]))
    return pb.Result(
        final=True,
        embeddings=[pb.Embedding(values=one["embedding"]) for one in vectors],
        usage=pb.Usage(prompt_tokens=int((reply.get("usage") or {}).get("prompt_tokens", 0))),
    )


async def refuse_long(server: Server, inputs: Sequence[str | list[int]], context: int) -> None:
    """Refuse `inputs`, texts or their tokens, of which one has more than `context` tokens.

    Raises:
        TaskError: BAD_REQUEST, with the number of its tokens.
    """
    for number, given in enumerate(inputs, 1):
        length = len(given)
        if isinstance(given, str):
            if length <= context:  # a token is a character at least
                continue
            length = await length_of(server, given)
        if length > context:
            raise TaskError(
                pb.BAD_REQUEST,
                f"text {number} of {len(inputs)} has {length} tokens, and the model reads"
                f" {context} at once",
                "send it in parts",
            )


async def length_of(server: Server, text: str) -> int:
    """Return how many tokens the model makes of `text`, with those around it."""
    body = {"content": text, "add_special": True}
    return len((await server.post("/tokenize", body)).get("tokens") or ())
