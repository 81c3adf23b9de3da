"""/api/benches: GET shows what was measured, POST measures and tells how far it is."""

import contextlib

import msgspec
from starlette.types import Receive, Scope, Send

from daiic.bench.bench import bench
from daiic.bench.figures import Measured
from daiic.bench.rounds import Load
from daiic.gateway.bench.schema import Benches, BenchRequest
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.errors import ApiError, ErrorFormat
from daiic.gateway.http.json_endpoint import JsonEndpoint
from daiic.gateway.http.request_context import RequestContext
from daiic.gateway.http.response_writer import ResponseWriter, server_sent_event
from daiic.gateway.limits import BENCH_STREAMS, BENCH_TOKENS
from daiic.work import WORK

DONE = b"data: [DONE]\n\n"


class BenchEndpoint:
    """An ASGI application; one bench runs at a time, and ends with the request that started it."""

    def __init__(self, gateway: Gateway, format_error: ErrorFormat) -> None:
        self._gateway = gateway
        self._format_error = format_error
        self._running = False
        self._start: JsonEndpoint[BenchRequest] = JsonEndpoint(
            gateway, "bench", WORK["text"], BenchRequest, self._bench, format_error
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entry = AccessLogEntry.of(scope)
        entry.endpoint = "bench"
        if scope["method"] == "POST" and entry.client.may_bench:
            await self._start(scope, receive, send)
            return
        response = ResponseWriter(send, self._format_error)
        if scope["method"] == "POST":
            await response.send_error(
                ApiError(
                    403,
                    "this needs an API key that may start benches: the operator makes one with "
                    "`daiic apikey create --may-bench NAME`",
                    type="permission_error",
                    code="bench_not_allowed",
                )
            )
            return
        await response.send_json(
            Benches(
                may_start=entry.client.may_bench,
                running=self._running,
                most_streams=BENCH_STREAMS,
                most_tokens=BENCH_TOKENS,
                measured=self._gateway.benches.measured,
            )
        )

    async def _bench(
        self, gateway: Gateway, request: BenchRequest, context: RequestContext
    ) -> None:
        if self._running:
            raise ApiError(
                409, "a bench is running: start this one when it is over", code="bench_running"
            )
        self._running = True
        try:
            await self._tell(gateway, request, context)
        finally:
            self._running = False

    async def _tell(self, gateway: Gateway, request: BenchRequest, context: RequestContext) -> None:
        load = Load(
            request.tokens,
            request.streams,
            min(request.deadline, gateway.settings.request_timeout),
        )
        model = gateway.view.meant(request.model)
        events = bench(
            gateway.cluster, model, load, frozenset(request.workers), frozenset(request.tags)
        )
        context.response.start_stream()
        async with contextlib.aclosing(events):
            async for event in events:
                if isinstance(event, Measured):
                    made = sum(done.tokens for done in event.rounds)
                    context.activity.output(event.worker, made)
                    await gateway.benches.add(event)
                await context.response.write(server_sent_event(msgspec.json.encode(event)))
        await context.response.write(DONE, last=True)
