"""What a text task asks of llama-server, and how much of its cache the answer may take."""

import json
from array import array
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.chat import chat, chat_body, tokens_of
from daiic.worker.engines.llama_cpp.chat_request import Template, needs_chat
from daiic.worker.engines.llama_cpp.completion import complete, prompt_of
from daiic.worker.engines.llama_cpp.constraint import constraint_fields
from daiic.worker.engines.llama_cpp.parameters import adapter_fields, parameter_fields
from daiic.worker.engines.llama_cpp.rendering import Rendering
from daiic.worker.engines.llama_cpp.replaceable import Running
from daiic.worker.engines.llama_cpp.seats import Wanted
from daiic.worker.engines.llama_cpp.server import Server
from daiic.worker.engines.llama_cpp.slots import COMPARED
from daiic.worker.engines.text.checks import (
    DEFAULT_MAX_TOKENS,
    check_one_kind,
    check_prompt_tokens,
    check_resumed,
    room_for_answer,
)
from daiic.worker.engines.text.repetition import after

PROBE = 16
"""Tokens of the cache that it takes to try a grammar, and more."""

ANSWER = 256
"""Tokens that an answer is expected to have, however many it may."""

Parts = AsyncGenerator[pb.Result, None]


@dataclass(frozen=True, slots=True)
class Request:
    """What it `wanted` of the server, and its answer `parts_in` a slot, once it has both."""

    wanted: Wanted
    parts_in: Callable[[int], Parts]
    is_constrained: bool


@dataclass(frozen=True, slots=True)
class TextTasks:
    """The text tasks of one loaded model.

    `defaults` are the parameters that the server takes where a task names none, `adapters` the
    names of the model's in its order; `count` gets the timings of each answer.
    """

    template: Template
    defaults: Mapping[str, Any]
    context: int
    vocabulary: int
    adapters: Sequence[str]
    llguidance: bool
    rendering: Rendering
    count: Callable[[Mapping[str, Any]], None]

    async def request(self, running: Running, task: pb.Task) -> Request:
        """Return what answers `task`, after what was delivered of it.

        Raises:
            TaskError: if it cannot be answered, in words for its sender.
        """
        text = task.text
        check_one_kind(text)
        check_resumed(task.resume.tokens, self.vocabulary)
        check_prompt_tokens(text.prompt_tokens, self.vocabulary)
        constraint = await constraint_fields(
            text.constraint, partial(_probe, running), llguidance=self.llguidance
        )
        again = bool(constraint) and task.HasField("resume")
        asked = task
        if again:
            asked = pb.Task()
            asked.CopyFrom(task)
            asked.ClearField("resume")
        fields = {
            **parameter_fields(text, self.defaults, len(asked.resume.tokens)),
            **adapter_fields(task.adapters, self.adapters),
            **constraint,
        }
        wanted, parts_in = await self._answer(running.server, asked, fields)
        if again:
            delivered = pb.Resume()
            delivered.CopyFrom(task.resume)
            return Request(wanted, lambda slot: after(delivered, parts_in(slot)), True)
        return Request(wanted, parts_in, bool(constraint))

    async def _answer(
        self, server: Server, task: pb.Task, fields: dict[str, Any]
    ) -> tuple[Wanted, Callable[[int], Parts]]:
        """Return what `task` takes of the server, and its answer in a slot."""
        made = len(task.resume.tokens)
        wanted = task.text.max_tokens or DEFAULT_MAX_TOKENS
        if needs_chat(task.text, self.template):
            body = await chat_body(server, task, self.template, fields)
            length = max(await tokens_of(server, body, self.rendering) - made, 0)
            left = max(min(wanted, room_for_answer(length, self.context)) - made, 0)
            body["max_tokens"] = left
            read = _read(fields, body.get("tools"), *map(_said, body["messages"]))

            def parts_in(slot: int) -> Parts:
                placed = {**body, "id_slot": slot}
                return chat(server, task, placed, length, self.rendering, self.count)
        else:
            prompt = await prompt_of(server, task.text, self.rendering)
            length = len(prompt)
            left = max(min(wanted, room_for_answer(length, self.context)) - made, 0)
            read = _read(fields) + array("I", [*prompt, *task.resume.tokens]).tobytes()

            def parts_in(slot: int) -> Parts:
                placed = {**fields, "n_predict": left, "id_slot": slot}
                return complete(server, task, prompt, placed, self.count)

        tokens = min(length + made + left, self.context)
        return Wanted(tokens, min(tokens, length + made + ANSWER), read), parts_in


def _read(fields: Mapping[str, Any], *parts: Any) -> bytes:
    """Return bytes that are alike for prompts which are; adapters change what is computed."""
    read = bytearray()
    for part in (fields.get("lora"), *parts):
        if part and len(read) < COMPARED:
            read += json.dumps(part).encode()
    return bytes(read)


def _said(message: Mapping[str, Any]) -> list[Any]:
    """Return `message` with what is said first: all messages have the same fields."""
    return [message.get("content"), {**message, "content": None}]


async def _probe(running: Running, body: Mapping[str, Any]) -> Mapping[str, Any]:
    async with running.seats.held(Wanted(PROBE, PROBE)) as seat:
        seat.tokens = 0
        body = {**body, "id_slot": seat.slot}
        return await running.server.post("/completion", body)
