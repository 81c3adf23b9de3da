"""Embeddings of texts, as llama-server makes them."""

from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.rendering import Server


async def embed(server: Server, task: pb.EmbedTask, context: int) -> pb.Result:
    """Return the whole answer: one embedding, of length 1, for each of the inputs.

    The model takes texts of `context` tokens at most.

    Raises:
        TaskError: BAD_REQUEST for an empty or too long text.
    """
    if not task.inputs or "" in task.inputs:
        raise TaskError(pb.BAD_REQUEST, "there is no text to embed", "send texts as `inputs`")
    try:
        reply = await server.post("/v1/embeddings", {"input": list(task.inputs)})
    except TaskError:
        await _check_lengths(server, task, context)
        raise
    data: Any = reply.get("data") or []
    vectors = sorted(data, key=lambda one: int(one["index"]))
    return pb.Result(
        final=True,
        embeddings=[pb.Embedding(values=one["embedding"]) for one in vectors],
        usage=pb.Usage(prompt_tokens=int((reply.get("usage") or {}).get("prompt_tokens", 0))),
    )


async def _check_lengths(server: Server, task: pb.EmbedTask, context: int) -> None:
    for number, text in enumerate(task.inputs, 1):
        body = {"content": text, "add_special": True}
        length = len((await server.post("/tokenize", body)).get("tokens") or ())
        if length > context:
            raise TaskError(
                pb.BAD_REQUEST,
                f"text {number} of {len(task.inputs)} has {length} tokens, and the model reads"
                f" {context} at once",
                "embed it in parts",
            )
