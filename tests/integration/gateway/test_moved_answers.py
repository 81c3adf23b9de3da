"""A worker is lost amid reasoning, a JSON answer or a call: the client gets the same."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial

from daiic.wire import daiic_pb2 as pb
from support.peers.tool_caller import CITY, USAGE
from support.peers.worker_stub import Step, WorkerStub
from support.processes.gateway_process import RunningGateway, gateway_process
from support.processes.head_process import HeadProcess

ARGUMENTS = ['{"city"', ': "Ro', 'me"', "}"]
SCRIPTS = {
    "call": [
        pb.Result(reasoning="let me "),
        pb.Result(reasoning="see"),
        pb.Result(text="Asking."),
        pb.Result(tool_calls=[pb.ToolCallPart(index=0, id="call_a", name="weather")]),
        *[pb.Result(tool_calls=[pb.ToolCallPart(index=0, arguments=one)]) for one in ARGUMENTS],
        pb.Result(final=True, finish_reason=pb.FINISH_REASON_TOOL_CALLS, usage=USAGE),
    ],
    "json": [
        *[pb.Result(text=one) for one in ARGUMENTS],
        pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP, usage=USAGE),
    ],
}
SAY = [{"role": "user", "content": "weather?"}]


class Model:
    """A model on two workers, the one of which that answers first is lost at a part."""

    def __init__(self, kind: str, lost_at: int | None, name: str) -> None:
        self.name = f"{kind}-{name}-{lost_at}"
        self._parts = SCRIPTS[kind]
        self.lost_at = lost_at
        self._closing: list[asyncio.Task[None]] = []
        self.runs: list[int] = []
        """After how many tokens each run of the task began."""

    async def serve(self, head: HeadProcess, stack: AsyncExitStack) -> None:
        """Start its workers."""
        for number in range(2):
            stub = await WorkerStub.open(
                [head.address], worker_id=f"{self.name}-{number}", models={}
            )
            stack.push_async_callback(stub.close)
            able = [pb.CHAT, pb.TOOLS, pb.SCHEMA]
            model = pb.ModelStatus(name=self.name, state=pb.LOADED, kind=pb.TEXT, capabilities=able)
            stub.heartbeat.models.append(model)
            stub.say()
            stub.scripts[self.name] = partial(self._answer, stub)

    def _answer(self, stub: WorkerStub, task: pb.Task) -> Iterator[Step]:
        begun = len(task.resume.tokens)
        self.runs.append(begun)
        for token, part in enumerate(self._parts[begun:], begun):
            if token == self.lost_at and not task.HasField("resume"):
                yield 0.1  # so that what was said arrives
                self._closing.append(asyncio.ensure_future(stub.close(polite=False)))
                yield 3600.0
            told = pb.Result(tokens=[token], model=pb.ModelIdentity(weights="same"))
            told.MergeFrom(part)
            yield told


async def chat(gateway: RunningGateway, model: str, asked: dict[str, object]) -> object:
    """Return what the client puts together of a stream."""
    async with gateway.openai.chat.completions.stream(
        model=model, messages=SAY, stream_options={"include_usage": True}, **asked
    ) as stream:
        async for _ in stream:
            pass
        whole = await stream.get_final_completion()
    return whole.model_dump(exclude={"id", "created", "model"})


async def response(gateway: RunningGateway, model: str, asked: dict[str, object]) -> object:
    """Return what the client puts together of a stream, and its events."""
    request = dict(asked)
    if form := request.pop("response_format", None):
        request["text"] = {"format": {"type": "json_schema", **form["json_schema"]}}
    request["tools"] = [{"type": "function", **tool["function"]} for tool in request["tools"]]
    async with gateway.openai.responses.stream(model=model, input="weather?", **request) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    output = [item.model_dump(exclude={"id"}) for item in final.output]
    return kinds, output, final.usage


WEATHER = {"name": "weather", "parameters": CITY, "strict": True}
ASKED: dict[str, dict[str, object]] = {
    "call": {"tools": [{"type": "function", "function": WEATHER}]},
    "json": {
        "tools": [],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "city", "schema": CITY, "strict": True},
        },
    },
}


async def test_the_client_gets_what_it_would_have_got() -> None:
    async with (
        HeadProcess(http_listen="") as head,
        gateway_process(f"--heads={head.address}") as gateway,
        AsyncExitStack() as stack,
    ):
        models = [
            (Model(kind, lost_at, api.__name__), kind, api)
            for api in (chat, response)
            for kind, losses in (("call", (None, 1, 3, 5)), ("json", (None, 2)))
            for lost_at in losses
        ]
        for model, _, _ in models:
            await model.serve(head, stack)
        await head.wait_for_workers(2 * len(models))
        answers = await asyncio.gather(
            *(api(gateway, model.name, ASKED[kind]) for model, kind, api in models)
        )
        undisturbed: object = None
        for (model, _, _), answer in zip(models, answers, strict=True):
            if model.lost_at is None:
                undisturbed = answer
                assert model.runs == [0]
            else:
                assert model.runs == [0, model.lost_at]
                assert answer == undisturbed
