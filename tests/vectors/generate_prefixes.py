"""Writes prefixes.json, the test vectors of *Prefixes* in docs/cluster.md.

It follows the specification with nothing of daiic.client. After a change of that,
`python tests/vectors/generate_prefixes.py` rewrites the file.
"""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from google.protobuf import json_format

from daiic.wire import daiic_pb2 as schema

PATH = Path(__file__).with_name("prefixes.json")

ABOUT = (
    "Test vectors of Task.prefix (docs/cluster.md#prefixes). `ends` says where each block ends. "
    "Of each case, `task` is the canonical JSON of a Task, whose prompt is `times` as long if that "
    "is there, `start` is what h0 is the hash of, `prompt` what is hashed in blocks (or its "
    "SHA-256 if it is long), and `prefix` what Task.prefix must be; the last three in hex. "
    "Written by tests/vectors/generate_prefixes.py."
)

MOST_SHOWN = 2048
"""Bytes of a prompt that are written out."""


def ends() -> list[int]:
    """Return where each block ends."""
    found, end = [], 0
    while len(found) < 64:
        # 16 of the first size, then 8 of each size, which is twice the one before.
        doubled = max(0, (len(found) - 8) // 8)
        end += 256 << doubled
        found.append(end)
    return found


def chain(start: bytes, prompt: bytes) -> bytes:
    """Return the hashes of all whole blocks."""
    last = hashlib.sha256(start).digest()[:8]
    prefix, begin = b"", 0
    for end in ends():
        if end > len(prompt):
            break
        last = hashlib.sha256(last + prompt[begin:end]).digest()[:8]
        prefix, begin = prefix + last, end
    return prefix


BEYOND, TIMES = "beyond the last block", 150
LONG = "All the vowels of a long sentence are counted, one after the other. " * 30
PICTURE = bytes(range(256)) * 2
PICTURE_DIGEST = hashlib.sha256(PICTURE).hexdigest().encode()
SOUND = b"RIFF" + bytes(60)


def cases() -> list[tuple[str, schema.Task, bytes, bytes]]:
    """Return what each case is of, its task, what h0 is the hash of, and the prompt."""
    text = schema.TextTask
    message, call = schema.ChatMessage, schema.ToolCall
    part, media = schema.ContentPart, schema.Media
    long = LONG.encode()
    asked = [
        message(role="system", content=LONG),
        message(role="user", content="Grüße"),
    ]
    asked_bytes = b"\xf8system\xfa" + long + b"\xf8user\xfaGr\xc3\xbc\xc3\x9fe"
    went_on = [
        *asked,
        message(role="assistant", reasoning="hm", content="Ja."),
        message(role="user", content=LONG),
    ]
    went_on_bytes = asked_bytes + b"\xf8assistant\xf9hm\xfaJa.\xf8user\xfa" + long
    return [
        (
            "too short",
            schema.Task(model="m", text=text(prompt="x" * 254)),
            b"m",
            b"\xfa" + b"x" * 254,
        ),
        (
            "one block exactly",
            schema.Task(model="m", text=text(prompt="x" * 255)),
            b"m",
            b"\xfa" + b"x" * 255,
        ),
        ("a prompt", schema.Task(model="m", text=text(prompt=LONG)), b"m", b"\xfa" + long),
        (
            "another model",
            schema.Task(model="o/n", text=text(prompt=LONG)),
            b"o/n",
            b"\xfa" + long,
        ),
        (
            "adapters and effort",
            schema.Task(
                model="m",
                adapters=[schema.Adapter(name="a"), schema.Adapter(name="b", scale=0.5)],
                text=text(prompt=LONG, reasoning_effort="low"),
            ),
            b"m\xf5a\xf6\x3f\x80\x00\x00\xf5b\xf6\x3f\x00\x00\x00\xf7low",
            b"\xfa" + long,
        ),
        (
            "tokens",
            schema.Task(model="m", text=text(prompt_tokens=range(70000, 70100))),
            b"m",
            b"\xc1" + struct.pack(">100I", *range(70000, 70100)),
        ),
        ("a conversation", schema.Task(model="m", text=text(messages=asked)), b"m", asked_bytes),
        ("it goes on", schema.Task(model="m", text=text(messages=went_on)), b"m", went_on_bytes),
        (
            "tools and calls of them",
            schema.Task(
                model="m",
                text=text(
                    tools=[
                        schema.Tool(name="f", description=LONG, parameters='{"type":"object"}'),
                        schema.Tool(name="g"),
                    ],
                    messages=[
                        message(role="user", content="?"),
                        message(
                            role="assistant",
                            tool_calls=[
                                call(id="1", name="f", arguments="{}"),
                                call(id="2", name="g", arguments="{}"),
                            ],
                        ),
                        message(role="tool", tool_call_id="1", content=LONG),
                        message(role="tool", tool_call_id="2", content=""),
                    ],
                ),
            ),
            b"m",
            b"\xf5f\xf6"
            + long
            + b'\xf7{"type":"object"}\xf5g\xf6\xf7\xf8user\xfa?\xf8assistant'
            + b"\xfd1\xfef\xff{}\xfd2\xfeg\xff{}\xf8tool\xc01\xfa"
            + long
            + b"\xf8tool\xc02",
        ),
        (
            "parts",
            schema.Task(
                model="m",
                text=text(
                    messages=[
                        message(
                            role="user",
                            parts=[
                                part(text="What is "),
                                part(text="this: "),
                                part(image=media(data=PICTURE, type="image/png")),
                                part(audio=media(data=SOUND, type="audio/wav")),
                                part(text=LONG),
                            ],
                        )
                    ]
                ),
            ),
            b"m",
            b"\xf8user\xfaWhat is this: \xfb"
            + PICTURE_DIGEST
            + b"\xfc"
            + hashlib.sha256(SOUND).hexdigest().encode()
            + b"\xfa"
            + long,
        ),
        (BEYOND, schema.Task(model="m", text=text(prompt=LONG)), b"m", b"\xfa" + long * TIMES),
        ("no text", schema.Task(model="m", image=schema.ImageTask(prompt=LONG)), b"m", b""),
    ]


def vectors() -> dict[str, Any]:
    """Return the whole file as a value."""
    return {
        "about": ABOUT,
        "ends": ends(),
        "cases": [
            {
                "name": name,
                "task": json_format.MessageToDict(task),
                **({"times": TIMES} if name == BEYOND else {}),
                "start": start.hex(),
                "prompt": prompt.hex()
                if len(prompt) <= MOST_SHOWN
                else {"sha256": hashlib.sha256(prompt).hexdigest(), "bytes": len(prompt)},
                "prefix": chain(start, prompt).hex(),
            }
            for name, task, start, prompt in cases()
        ],
    }


def text() -> str:
    """Return the file's text."""
    return json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
