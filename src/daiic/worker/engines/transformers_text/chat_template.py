"""From a conversation to the text that a model continues, by the model's own template.

A template is a program that comes with the model. It runs in a process of its
own, `template_process`, which has limits of processor time and memory, stays
for the next conversation, and ends with the engine or the worker.
"""

import asyncio
import json
import signal
import socket
import struct
import subprocess
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.confinement import command
from daiic.worker.engines.interface import ModelRefused
from daiic.worker.engines.text.formats.traits import traits_of
from daiic.worker.engines.transformers_text import template_process
from daiic.worker.limits import LIMITS
from daiic.worker.models.model_json import shown

CPU_SECONDS = LIMITS.template_seconds
"""Of processor time for one conversation, compiling included; templates take milliseconds."""
MEMORY = LIMITS.template_memory
"""Bytes of address space."""
PATIENCE = LIMITS.template_patience
"""Seconds after which the machine, not the template, is taken for too slow."""
MAX_SOURCE = LIMITS.template
GROWTH, SPARE = 2, 1 << 20
"""A text may have so many times its conversation's characters, and so many more."""
ESCAPED = 12
"""Bytes of a character in the JSON of an answer, at most."""
SHORT = (64, 64 << 10)
"""Messages and characters of a conversation up to which an excess is the template's fault."""
_LENGTH = struct.Struct(">I")


class ChatTemplate:
    """The template of the model `name`, and the process that renders it."""

    def __init__(
        self, name: str, source: str, variables: dict[str, str], described: Any = None
    ) -> None:
        """`variables` are the tokens that templates use by name, such as `bos_token`.

        `described` is the tokenizer's `response_template`, if it has one.
        """
        self._name = name
        self.traits = traits_of(source[:MAX_SOURCE], described)
        self._refusal = ""
        self._begin = json.dumps({"template": source, "variables": variables}).encode("ascii")
        self._one = asyncio.Lock()
        self._process: _Process | None = None
        if len(source) > MAX_SOURCE:
            self._refusal = "is longer than a megabyte"
        else:
            self._process = _Process(self._begin)

    async def render(
        self, messages: list[dict[str, Any]], variables: dict[str, Any] | None = None
    ) -> str:
        """Return the conversation as the model was trained on it, with the assistant's turn begun.

        `variables` are further ones that the template may use, or others than the usual.

        Raises:
            ModelRefused: if the template takes what no template needs, and ever after.
            TaskError: BAD_REQUEST if it does not take this conversation, INTERNAL if the
                process was ended by others.
        """
        values = {
            "messages": messages,
            "tools": None,
            "documents": None,
            "add_generation_prompt": True,
        } | (variables or {})
        length = sum(len(str(text)) for message in messages for text in message.values())
        length += len(str(values["tools"]))
        most = GROWTH * length + SPARE
        request = {"values": values, "most": most}
        async with self._one:
            if self._refusal:
                raise self._refused()
            if self._process is None or self._process.is_gone:
                self.close()
                self._process = _Process(self._begin)
            try:
                async with asyncio.timeout(PATIENCE):
                    answer = await self._process.ask(
                        json.dumps(request).encode("ascii"), ESCAPED * most + SPARE
                    )
            except _Ended as end:
                self.close()
                answer = {"excess": end.reason}
            except BaseException as error:  # its answer would be taken for the next one's
                self.close()
                if isinstance(error, TimeoutError):
                    raise self._fault("did not end in time") from None
                raise
            text = answer.get("text")
            if isinstance(text, str):
                return text
            excess = answer.get("excess")
            if "error" in answer:
                raise TaskError(
                    pb.BAD_REQUEST,
                    "the model's chat template does not take these messages: "
                    + shown(answer["error"]),
                    "many models need user and assistant to alternate, and some no system message",
                )
            if not excess:
                raise self._fault("was killed")
            if len(messages) > SHORT[0] or length > SHORT[1]:
                raise TaskError(
                    pb.BAD_REQUEST,
                    f"the model's chat template takes {excess} for this conversation",
                    "send a shorter conversation, or the text as `prompt`",
                )
            self._refusal = f"takes {excess}"
            self.close()
            raise self._refused()

    def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _refused(self) -> ModelRefused:
        return ModelRefused(
            pb.BAD_REQUEST,
            f"{self._name} is refused: its chat template {self._refusal}",
            "choose another model; if the template was fixed, restart the worker",
        )

    def _fault(self, what: str) -> TaskError:
        return TaskError(
            pb.INTERNAL,
            f"the process that renders the chat template of {self._name} {what}",
            "see how much memory the machine has left; another worker may succeed",
        )


def template_of(tokenizer: Any, name: str, other: str | None = None) -> ChatTemplate | None:
    """Return the chat template that comes with `tokenizer`, that of the model `name`, if any.

    An `other` one, which came with the model besides, takes its place.
    """
    source = other or tokenizer.chat_template
    if isinstance(source, dict):
        source = source.get("default")
    if not source or not isinstance(source, str):
        return None
    described = getattr(tokenizer, "response_template", None)
    return ChatTemplate(name, source, dict(tokenizer.special_tokens_map), described)


class _Ended(Exception):
    """The process is gone; `reason` is empty if it was not the template's fault."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Process:
    """One child and the socket to it."""

    def __init__(self, begin: bytes) -> None:
        """`begin` is its first frame."""
        ours, theirs = socket.socketpair()
        with theirs:
            line, environment = command(template_process.__file__, CPU_SECONDS, MEMORY)
            self._child = subprocess.Popen(
                line, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=environment
            )
        ours.setblocking(False)
        self._socket = ours
        self._unsent = [begin]

    @property
    def is_gone(self) -> bool:
        """Whether somebody has ended it."""
        return self._child.poll() is not None

    async def ask(self, request: bytes, most: int) -> dict[str, Any]:
        """Return the answer to `request`, at most `most` bytes.

        Raises:
            _Ended: if the process has ended, or speaks otherwise than it should.
        """
        loop = asyncio.get_running_loop()
        self._unsent.append(request)
        try:
            while self._unsent:
                frame = self._unsent.pop(0)
                await loop.sock_sendall(self._socket, _LENGTH.pack(len(frame)) + frame)
            length = _LENGTH.unpack(await self._receive(_LENGTH.size))[0]
            if length > most:
                raise EOFError
            answer = json.loads(await self._receive(length))
        except (OSError, EOFError, ValueError, RecursionError):
            self._child.kill()  # it may only have said what it must not
            raise _Ended(_EXCESSES.get(self._child.wait(), "")) from None
        return answer if isinstance(answer, dict) else {}

    async def _receive(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        content = bytearray()
        while len(content) < size:
            piece = await loop.sock_recv(self._socket, min(size - len(content), 1 << 20))
            if not piece:
                raise EOFError
            content += piece
        return bytes(content)

    def end(self) -> None:
        """End it, whatever it does."""
        self._socket.close()
        self._child.kill()
        self._child.wait()


_EXCESSES = {
    -signal.SIGPROF: "too much time",
    **dict.fromkeys(
        (
            template_process.OUT_OF_MEMORY,
            -signal.SIGSEGV,  # of a stack that is full
            -signal.SIGBUS,
            -signal.SIGABRT,
        ),
        "too much memory",
    ),
}
"""What is wrong with a template after which the process has ended so."""
