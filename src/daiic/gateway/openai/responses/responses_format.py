"""How a response is written down: as one object, or as events that build it up."""

from collections.abc import Callable, Sequence

import msgspec

from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.response_writer import EventStream, server_sent_event
from daiic.gateway.openai.errors import error_body
from daiic.gateway.openai.responses.output import Output
from daiic.gateway.openai.schema.response import (
    IncompleteDetails,
    Response,
    ResponseFailure,
    ResponseStatus,
    ResponseUsage,
)
from daiic.gateway.openai.schema.response_events import (
    ResponseCompleted,
    ResponseCreated,
    ResponseEvent,
    ResponseFailed,
    ResponseIncomplete,
    ResponseInProgress,
)
from daiic.wire import daiic_pb2 as pb


class ResponsesFormat(EventStream):
    """The response to one request; `keep` is given it, as JSON, once it is whole."""

    __slots__ = ("_begun", "_cut_off", "_keep", "_number", "_output", "_response")

    def __init__(self, response: Response, keep: Callable[[bytes], None]) -> None:
        super().__init__(error_body)
        self._response = response
        self._keep = keep
        self._output = Output(response.id.partition("_")[2])
        self._number = 0
        self._begun = False
        self._cut_off = False

    def part(self, index: int, part: pb.Result) -> bytes:
        return self._begin(part) + b"".join([self._event(event) for event in self._add(part)])

    def end(self, usage: pb.Usage) -> bytes:
        whole = self._whole(usage)
        kind = ResponseIncomplete if self._cut_off else ResponseCompleted
        return self._event(kind(response=whole))

    def error(self, error: ApiError) -> bytes:
        failure = ResponseFailure(error.code or "server_error", error.message)
        failed = self._now("failed", error=failure)
        return self._begin() + self._event(ResponseFailed(response=failed))

    def whole(self, results: Sequence[pb.Result], usage: pb.Usage) -> bytes:
        for result in results:
            self._note_model(result)
            self._add(result)
        return msgspec.json.encode(self._whole(usage))

    def _note_model(self, part: pb.Result) -> None:
        if part.model_name:
            self._response = msgspec.structs.replace(self._response, model=part.model_name)

    def _add(self, part: pb.Result) -> list[ResponseEvent]:
        self._cut_off = part.finish_reason == pb.FINISH_REASON_LENGTH
        return list(self._output.add(part))

    def _whole(self, usage: pb.Usage) -> Response:
        """Return the response, which is kept from now on."""
        whole = self._now(
            "incomplete" if self._cut_off else "completed",
            usage=ResponseUsage.of(usage),
            incomplete_details=IncompleteDetails("max_output_tokens") if self._cut_off else None,
        )
        self._keep(msgspec.json.encode(whole))
        return whole

    def _now(self, status: ResponseStatus, **more: object) -> Response:
        return msgspec.structs.replace(
            self._response, status=status, output=self._output.items, **more
        )

    def _begin(self, part: pb.Result | None = None) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        self._note_model(part or pb.Result())
        created = self._event(ResponseCreated(response=self._response))
        return created + self._event(ResponseInProgress(response=self._response))

    def _event(self, event: ResponseEvent) -> bytes:
        event.sequence_number = self._number
        self._number += 1
        kind = event.__struct_config__.tag
        return server_sent_event(msgspec.json.encode(event), str(kind))
