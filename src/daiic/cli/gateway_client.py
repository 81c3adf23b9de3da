"""The cluster behind a gateway's URL, seen as tasks and results like the mesh."""

from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Any

import msgspec

from daiic.bench.figures import Event
from daiic.bench.rounds import Load
from daiic.cli.gateway_http import GatewayHttp, of_this_api
from daiic.cli.gateway_media import make_images, speak, transcribe
from daiic.errors import TaskError
from daiic.model_kinds import MODEL_KINDS
from daiic.whole_answer import joined
from daiic.wire import daiic_pb2 as pb

FINISH_REASONS = {
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
    "tool_calls": pb.FINISH_REASON_TOOL_CALLS,
}
MODEL_KIND_NUMBERS = {kind.name: number for number, kind in MODEL_KINDS.items()}


class GatewayClient:
    """Speaks the OpenAI API; DAIIC_API_KEY holds the key, if one is needed."""

    def __init__(self, url: str) -> None:
        """`url` is the gateway's, with or without a trailing /v1."""
        self._http = GatewayHttp(url)

    async def __aenter__(self) -> "GatewayClient":
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def models(self, tags: Sequence[str] = ()) -> list[pb.ModelStatus]:
        """Return the models that the gateway offers, whatever `tags` their workers have."""
        listed = await self._http.json("GET", "/v1/models", None)
        with of_this_api():
            return [
                pb.ModelStatus(
                    name=model["id"],
                    kind=MODEL_KIND_NUMBERS.get(model.get("kind", ""), pb.TEXT),
                )
                for model in listed["data"]
            ]

    async def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Yield the parts of the answer; closing the generator ends the request.

        Raises:
            TaskError: if the gateway answers with an error or not at all.
        """
        work = task.WhichOneof("work") or "empty"
        endpoint = _ENDPOINTS.get(work)
        if endpoint is None:
            raise TaskError(
                pb.BAD_REQUEST, f"a gateway cannot run {work} tasks", "use --head instead of --url"
            )
        if task.tags:
            raise TaskError(
                pb.BAD_REQUEST,
                "a gateway cannot choose workers by tag",
                "use --head instead of --url, or leave --tag out",
            )
        async for part in endpoint(self._http, task):
            yield part

    async def bench(
        self, model: str, load: Load, workers: Sequence[str], tags: Sequence[str]
    ) -> AsyncGenerator[Event, None]:
        """Have the gateway measure `model`; it keeps the figures. As `daiic.bench.bench.bench`."""
        body = {
            "model": model,
            "workers": list(workers),
            "tags": list(tags),
            "streams": load.streams,
            "tokens": load.tokens,
            "deadline": load.deadline,
        }
        async for event in self._http.events("/api/benches", body):
            with of_this_api():
                told: Event = msgspec.convert(event, Event)
            yield told

    async def answer(self, task: pb.Task) -> pb.Result:
        """Return the whole answer as one part."""
        return joined([part async for part in self.run(task)])


async def _text(http: GatewayHttp, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
    text = task.text
    body: dict[str, Any] = {
        "model": task.model,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    for field in ("temperature", "top_p", "top_k", "seed"):
        if text.HasField(field):
            body[field] = getattr(text, field)
    if text.max_tokens:
        body["max_tokens"] = text.max_tokens
    if text.stop:
        body["stop"] = list(text.stop)
    if text.messages:
        path = "/v1/chat/completions"
        body["messages"] = [{"role": m.role, "content": m.content} for m in text.messages]
    else:
        path = "/v1/completions"
        body["prompt"] = text.prompt
    last = pb.Result(final=True)
    begun = False
    async for chunk in http.events(path, body):
        for part in _said(chunk, last):
            if not begun:
                begun = True
                part.model_name = _other_model(chunk, task.model)
            yield part
    yield last


def _other_model(answer: dict[str, Any], asked: str) -> str:
    """Return the name of the model that made `answer`; empty if it is the one `asked` for."""
    name = answer.get("model")
    return name if isinstance(name, str) and name != asked else ""


def _said(chunk: dict[str, Any], last: pb.Result) -> list[pb.Result]:
    """Return the text and reasoning in one event; what it says of usage and end goes to `last`."""
    parts = []
    with of_this_api():
        if usage := chunk.get("usage"):
            last.usage.prompt_tokens = usage["prompt_tokens"]
            last.usage.completion_tokens = usage["completion_tokens"]
        for choice in chunk.get("choices", ()):
            if reason := choice.get("finish_reason"):
                last.finish_reason = FINISH_REASONS.get(reason, pb.FINISH_REASON_STOP)
            delta = choice.get("delta") or {}
            part = pb.Result(
                text=choice.get("text") or delta.get("content"),
                reasoning=delta.get("reasoning_content"),
            )
            if part.text or part.reasoning:
                parts.append(part)
    return parts


async def _embed(http: GatewayHttp, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
    body = {"model": task.model, "input": list(task.embed.inputs)}
    answer = await http.json("POST", "/v1/embeddings", body)
    with of_this_api():
        embeddings = [pb.Embedding(values=item["embedding"]) for item in answer["data"]]
    yield pb.Result(final=True, embeddings=embeddings, model_name=_other_model(answer, task.model))


async def _rerank(http: GatewayHttp, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
    body = {
        "model": task.model,
        "query": task.rerank.query,
        "documents": list(task.rerank.documents),
        "return_documents": False,
    }
    answer = await http.json("POST", "/v1/rerank", body)
    scores = [0.0] * len(task.rerank.documents)
    with of_this_api():
        for ranked in answer["results"]:
            scores[ranked["index"]] = float(ranked["relevance_score"])
    yield pb.Result(final=True, scores=scores, model_name=_other_model(answer, task.model))


_ENDPOINTS = {
    "text": _text,
    "image": make_images,
    "embed": _embed,
    "rerank": _rerank,
    "transcribe": transcribe,
    "speak": speak,
}
"""What asks for the work of each kind in `daiic.work`."""
