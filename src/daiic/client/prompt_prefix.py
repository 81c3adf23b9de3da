"""What a text task's `prefix` is, so that heads find who has read the same beginning before.

docs/cluster.md describes these bytes for other implementations. A byte that
UTF-8 never has comes before each part of the prompt, and its length is told
nowhere: so a prompt that only goes on has all of the earlier one at its beginning.
"""

import struct
from collections.abc import Iterator
from hashlib import sha256

from daiic.prompt_blocks import ENDS, HASH, blocks
from daiic.wire import daiic_pb2 as pb

ADAPTER, SCALE, EFFORT = b"\xf5", b"\xf6", b"\xf7"
"""Before what the model is, beside its name."""

TOOL, DESCRIPTION, PARAMETERS = b"\xf5", b"\xf6", b"\xf7"
ROLE, ANSWERED_CALL, REASONING = b"\xf8", b"\xc0", b"\xf9"
TEXT, IMAGE, AUDIO = b"\xfa", b"\xfb", b"\xfc"
CALL, NAME, ARGUMENTS = b"\xfd", b"\xfe", b"\xff"
TOKENS = b"\xc1"
"""Before the parts of what it reads."""


def prompt_prefix(task: pb.Task) -> bytes:
    """Return the `prefix` of `task`; empty if it is no text, or has not one whole block to read."""
    if not task.HasField("text"):
        return b""
    prompt = bytearray()
    for part in _parts(task.text):
        prompt += part
        if len(prompt) >= ENDS[-1]:
            break
    if len(prompt) < ENDS[0]:
        return b""
    last = _hash(b"".join(_model(task)))
    hashes = []
    for block in blocks(bytes(prompt)):
        last = _hash(last + block)
        hashes.append(last)
    return b"".join(hashes)


def _hash(data: bytes) -> bytes:
    return sha256(data).digest()[:HASH]


def _model(task: pb.Task) -> Iterator[bytes]:
    """Yield what reads the prompt, and in which way."""
    yield task.model.encode()
    for adapter in task.adapters:
        yield ADAPTER + adapter.name.encode()
        yield SCALE + struct.pack(">f", adapter.scale if adapter.HasField("scale") else 1.0)
    if task.text.reasoning_effort:
        yield EFFORT + task.text.reasoning_effort.encode()


def _parts(text: pb.TextTask) -> Iterator[bytes]:
    """Yield what is to be read, in about the order in which chat templates put it."""
    if not text.messages:
        if text.prompt_tokens:
            yield TOKENS
            counting = text.prompt_tokens[: ENDS[-1] // 4]
            yield struct.pack(f">{len(counting)}I", *counting)
        else:
            yield TEXT + text.prompt.encode()
        return
    for tool in text.tools:
        yield TOOL + tool.name.encode()
        yield DESCRIPTION + tool.description.encode()
        yield PARAMETERS + tool.parameters.encode()
    for message in text.messages:
        yield from _message(message)


def _message(message: pb.ChatMessage) -> Iterator[bytes]:
    yield ROLE + message.role.encode()
    if message.tool_call_id:
        yield ANSWERED_CALL + message.tool_call_id.encode()
    if message.reasoning:
        yield REASONING + message.reasoning.encode()
    if message.content:
        yield TEXT + message.content.encode()
    yield from _content(message)
    for call in message.tool_calls:
        yield CALL + call.id.encode()
        yield NAME + call.name.encode()
        yield ARGUMENTS + call.arguments.encode()


def _content(message: pb.ChatMessage) -> Iterator[bytes]:
    """Yield the parts of the content; texts one after the other are one text."""
    in_text = False
    for part in message.parts:
        if part.HasField("image"):
            yield IMAGE + _digest(part.image)
            in_text = False
        elif part.HasField("audio"):
            yield AUDIO + _digest(part.audio)
            in_text = False
        elif part.text:
            yield part.text.encode() if in_text else TEXT + part.text.encode()
            in_text = True


def _digest(media: pb.Media) -> bytes:
    return sha256(media.data).hexdigest().encode()
