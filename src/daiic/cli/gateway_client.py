"""The cluster behind a gateway's URL, seen as tasks and results like the mesh."""

import base64
import contextlib
import json
import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import httpx
import msgspec

from daiic.bench.figures import Event
from daiic.bench.rounds import Load
from daiic.errors import TaskError
from daiic.model_kinds import MODEL_KINDS
from daiic.wire import daiic_pb2 as pb

CONNECT_TIMEOUT = 10.0
PCM_RATE = 24_000
"""Samples a second of PCM, of which the API does not say how many they are."""
FINISH_REASONS = {
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
    "tool_calls": pb.FINISH_REASON_TOOL_CALLS,
}
MODEL_KIND_NUMBERS = {kind.name: number for number, kind in MODEL_KINDS.items()}
CODES = {
    400: pb.BAD_REQUEST,
    404: pb.MODEL_NOT_FOUND,
    429: pb.QUEUE_FULL,
    503: pb.NO_WORKER,
    504: pb.DEADLINE_EXCEEDED,
}


class GatewayClient:
    """Speaks the OpenAI API; DAIIC_API_KEY holds the key, if one is needed."""

    def __init__(self, url: str) -> None:
        """`url` is the gateway's, with or without a trailing /v1."""
        base = url.rstrip("/").removesuffix("/v1")
        key = os.environ.get("DAIIC_API_KEY")
        self._http = httpx.AsyncClient(
            base_url=base,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(None, connect=CONNECT_TIMEOUT),
        )

    async def __aenter__(self) -> "GatewayClient":
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._http.aclose()

    async def models(self, tags: Sequence[str] = ()) -> list[pb.ModelStatus]:
        """Return the models that the gateway offers, whatever `tags` their workers have."""
        listed = await self._json("GET", "/v1/models", None)
        with _of_this_api():
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
        async for part in endpoint(self, task):
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
        async for event in self._events("/api/benches", body):
            with _of_this_api():
                told: Event = msgspec.convert(event, Event)
            yield told

    async def answer(self, task: pb.Task) -> pb.Result:
        """Return the whole answer as one part."""
        texts = []
        async for part in self.run(task):
            texts.append(part.text)
        part.text = "".join(texts)
        return part

    async def _text(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
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
        async for chunk in self._events(path, body):
            for part in _said(chunk, last):
                yield part
        yield last

    async def _image(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        work = task.image
        body: dict[str, Any] = {
            "model": task.model,
            "prompt": work.prompt,
            "n": work.n or 1,
            "response_format": "b64_json",
        }
        if work.width and work.height:
            body["size"] = f"{work.width}x{work.height}"
        if work.negative_prompt:
            body["negative_prompt"] = work.negative_prompt
        if work.steps:
            body["steps"] = work.steps
        for field in ("guidance", "seed", "strength"):
            if work.HasField(field):
                body[field] = getattr(work, field)
        if work.type:
            body["output_format"] = work.type.removeprefix("image/")
        if work.quality:
            body["output_compression"] = work.quality
        if not work.HasField("image"):
            answer = await self._json("POST", "/v1/images/generations", body)
        else:
            files = {"image": work.image.data, "mask": work.mask.data}
            sent = {name: (name, data) for name, data in files.items() if data}
            path = "/v1/images/edits" if work.prompt or work.mask.data else "/v1/images/variations"
            answer = await self._json("POST", path, body, sent)
        result = pb.Result(final=True)
        with _of_this_api():
            for image in answer["data"]:
                content = base64.b64decode(image["b64_json"])
                made = result.images.add(seed=int(image.get("seed", 0)))
                if work.type:
                    made.media.data, made.media.type = content, work.type
                else:
                    made.png = content
        yield result

    async def _embed(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        body = {"model": task.model, "input": list(task.embed.inputs)}
        answer = await self._json("POST", "/v1/embeddings", body)
        with _of_this_api():
            embeddings = [pb.Embedding(values=item["embedding"]) for item in answer["data"]]
        yield pb.Result(final=True, embeddings=embeddings)

    async def _rerank(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        body = {
            "model": task.model,
            "query": task.rerank.query,
            "documents": list(task.rerank.documents),
            "return_documents": False,
        }
        answer = await self._json("POST", "/v1/rerank", body)
        scores = [0.0] * len(task.rerank.documents)
        with _of_this_api():
            for ranked in answer["results"]:
                scores[ranked["index"]] = float(ranked["relevance_score"])
        yield pb.Result(final=True, scores=scores)

    async def _transcribe(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        work = task.transcribe
        body: dict[str, Any] = {"model": task.model, "response_format": "verbose_json"}
        for field in ("language", "prompt"):
            if getattr(work, field):
                body[field] = getattr(work, field)
        for field in ("temperature", "seed"):
            if work.HasField(field):
                body[field] = getattr(work, field)
        path = "/v1/audio/translations" if work.translate else "/v1/audio/transcriptions"
        answer = await self._json("POST", path, body, {"file": ("recording", work.audio.data)})
        result = pb.Result(final=True)
        with _of_this_api():
            result.text = answer["text"]
            result.language, result.seconds = answer["language"], answer["duration"]
            for one in answer.get("segments") or ():
                result.segments.add(start=one["start"], end=one["end"], text=one["text"])
        yield result

    async def _speak(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        work = task.speak
        body: dict[str, Any] = {"model": task.model, "input": work.input, "response_format": "pcm"}
        if work.voice:
            body["voice"] = work.voice
        for field in ("speed", "seed"):
            if work.HasField(field):
                body[field] = getattr(work, field)
        samples = await self._answered("POST", "/v1/audio/speech", json=body)
        speech = pb.Speech(samples=samples.content, rate=PCM_RATE)
        yield pb.Result(final=True, speech=speech)

    async def _json(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        files: Mapping[str, tuple[str, bytes]] | None = None,
    ) -> Any:
        """Return what is answered to `body`, which goes into a form if there are `files`."""
        content: dict[str, Any] = {"json": body} if files is None else {"data": body}
        response = await self._answered(method, path, files=files, **content)
        with _of_this_api():
            return response.json()

    async def _answered(self, method: str, path: str, **request: Any) -> httpx.Response:
        try:
            response = await self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None
        if response.is_error:
            raise _error(response)
        return response

    async def _events(
        self, path: str, body: dict[str, Any]
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the JSON of each server-sent event until [DONE]."""
        try:
            async with self._http.stream("POST", path, json=body) as response:
                if response.is_error:
                    await response.aread()
                    raise _error(response)
                async for line in response.aiter_lines():
                    if not line.startswith("data:"):
                        continue
                    data = line.removeprefix("data:").strip()
                    if data == "[DONE]":
                        return
                    with _of_this_api():
                        event = json.loads(data)
                        failed = event.get("error")
                        message = str(failed.get("message", data)) if failed else ""
                    if failed:
                        raise TaskError(pb.INTERNAL, message)
                    yield event
        except httpx.HTTPError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> TaskError:
        return TaskError(
            pb.HEAD_UNREACHABLE,
            f"the gateway at {self._http.base_url} does not answer ({error})",
            "check --url, and that daiic-gateway is running there",
        )


_ENDPOINTS = {
    "text": GatewayClient._text,
    "image": GatewayClient._image,
    "embed": GatewayClient._embed,
    "rerank": GatewayClient._rerank,
    "transcribe": GatewayClient._transcribe,
    "speak": GatewayClient._speak,
}
"""What asks for the work of each kind in `daiic.work`."""


def _error(response: httpx.Response) -> TaskError:
    code = CODES.get(response.status_code, pb.INTERNAL)
    if response.status_code == 401:
        return TaskError(
            pb.BAD_REQUEST,
            "the gateway requires an API key",
            "set DAIIC_API_KEY to one that `daiic apikey create` made",
        )
    try:
        message = str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError, RecursionError):
        message = f"{response.status_code} {response.reason_phrase}"
    return TaskError(code, message)


def _said(chunk: dict[str, Any], last: pb.Result) -> list[pb.Result]:
    """Return the text and reasoning in one event; what it says of usage and end goes to `last`."""
    parts = []
    with _of_this_api():
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


@contextlib.contextmanager
def _of_this_api() -> Iterator[None]:
    """Turn what goes wrong with an answer of another shape into a `TaskError`."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise TaskError(
            pb.INTERNAL,
            f"the server does not speak the OpenAI API ({type(error).__name__}: {error})",
            "check --url: it should be the address of a gateway, such as http://127.0.0.1:7700",
        ) from None
