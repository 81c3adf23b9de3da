"""Posts bodies to each endpoint of a gateway; each is answered, or refused with a reason.

By hand: `python tests/fuzz/driver.py json_bodies --coverage 900` (see there). The first byte of an
input chooses the endpoint.
"""

import asyncio
import json
import logging
from collections.abc import Callable

import structlog

from support.gateway_in_process import GatewayInProcess

PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/images/generations",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/rerank",
)
LONGEST_ERROR = 8000

_CHAT = {
    "model": "stub-chat",
    "messages": [
        {"role": "system", "content": "x"},
        {"role": "user", "content": [{"type": "text", "text": "a b"}]},
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "x",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "b"},
    ],
    "stream": True,
    "stream_options": {"include_usage": True},
    "stop": ["x"],
    "seed": 7,
    "temperature": 0.5,
    "top_p": 1,
    "top_k": 4,
    "max_tokens": 5,
    "logit_bias": {"5": 1.5},
    "min_p": 0.1,
    "presence_penalty": 1,
    "frequency_penalty": -1,
    "repetition_penalty": 1.1,
    "logprobs": True,
    "top_logprobs": 2,
    "tools": [
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "d",
                "parameters": {"type": "object", "properties": {}},
                "strict": True,
            },
        }
    ],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "max_completion_tokens": 3,
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    "n": 2,
    "user": {"a": [1, 2.5, None, True]},
}
_RESPONSE = {
    "model": "stub-chat",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "a b"}]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "x"}]},
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "b"},
        {"type": "message", "role": "developer", "content": "c", "id": "d"},
    ],
    "instructions": "x",
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    "tool_choice": {"type": "function", "name": "f"},
    "text": {"format": {"type": "json_schema", "name": "n", "schema": {}}},
    "reasoning": {"effort": "low"},
    "max_output_tokens": 4,
    "include": ["message.output_text.logprobs"],
    "previous_response_id": None,
    "metadata": {"a": "b"},
    "truncation": "disabled",
    "store": True,
    "stream": True,
}
_BODIES = (
    _CHAT,
    {
        "model": "stub-chat",
        "messages": [{"role": "user", "content": "x"}],
        "structured_outputs": {"choice": ["a", "b"]},
        "regex": "a+",
        "grammar": "start: /a/",
    },
    {"model": "stub-chat", "prompt": [1, 2, [3, 4]], "logprobs": 2},
    _RESPONSE,
    {"model": "stub-chat", "prompt": ["a", "b"], "n": 2, "seed": -1, "best_of": 2, "echo": False},
    {
        "prompt": "x",
        "size": "64x64",
        "n": 1,
        "seed": 1,
        "steps": 3,
        "guidance": 7.5,
        "stream": True,
    },
    {"prompt": "x", "model": "stub/image", "response_format": "b64_json", "negative_prompt": "y"},
    {"model": "stub-embed", "input": ["a", "b"], "encoding_format": "base64"},
    {"model": "stub-embed", "input": [[1, 2], [3]], "dimensions": 3, "prompt_name": "query"},
    {
        "model": "stub-rerank",
        "query": "q",
        "documents": ["a", {"text": "b"}],
        "top_n": 1,
        "return_documents": True,
    },
)
_ENDPOINTS = (0, 0, 1, 4, 1, 2, 2, 3, 3, 5)
SAMPLES = [
    bytes([endpoint]) + json.dumps(body).encode()
    for endpoint, body in zip(_ENDPOINTS, _BODIES, strict=True)
]
WORDS = [
    *(b'"', b"[", b"]", b"{", b"}", b":", b",", b"null", b"true", b"false", b"-", b"0", b"9", b"e"),
    *(b"NaN", b"Infinity", b"1e999", b"-1e999", b"1e-999", b"0.1", b"9" * 60, b"-0", b"2147483648"),
    *(b"18446744073709551616", b"-9223372036854775809", b"9007199254740993", b"0x0", b"99999999"),
    *(
        b'"\\ud800"',
        b"\\udc00\\ud800",
        b"\\u0000",
        b"\\",
        b"\0",
        b"\xff",
        b"\xed\xa0\x80",
        b"\x1b[2J",
    ),
    *(b'{"a":', b'[{"type":"text","text":', b'"model":"other",', b'"n":16,', b'"stream":true,'),
    *(f'"{key}":'.encode() for body in _BODIES for key in body),
]


def target() -> Callable[[bytes], None]:
    """Return what posts one body to a gateway that lives as long as the run."""
    loop = asyncio.new_event_loop()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    async def begin() -> GatewayInProcess:
        return GatewayInProcess()

    gateway = loop.run_until_complete(begin())

    async def send(data: bytes) -> None:
        path, body = PATHS[data[0] % len(PATHS) if data else 0], data[1:]
        status, answer, stream = await post(gateway, path, body)
        said = answer.decode()
        if stream:
            *_, last = said.strip().split("\n\n")
            assert (
                last == "data: [DONE]"
                or "image_generation.completed" in last
                or "event: response.completed" in last
                or '"error"' in last
            )
        else:
            answered = json.loads(said)
            assert (status == 200) == (answered.get("error") is None)
        if status != 200:
            assert status in (400, 404), (status, said)
            assert answered["error"]["message"]
            assert len(said) < LONGEST_ERROR
        gateway.cluster.tasks.clear()

    return lambda data: loop.run_until_complete(send(data))


async def post(
    gateway: GatewayInProcess, path: str, body: bytes, content_type: bytes = b"application/json"
) -> tuple[int, bytes, bool]:
    """Return the status, the body, and whether it is a stream of events."""
    started: dict[str, object] = {}
    answer = bytearray()
    asked = False

    async def receive() -> dict[str, object]:
        nonlocal asked
        if asked:
            await asyncio.Future()
        asked = True
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            started.update(message)
        else:
            answer.extend(message.get("body", b""))

    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "scheme": "http",
        "headers": [(b"host", b"localhost"), (b"content-type", content_type)],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 7700),
        "state": {},
    }
    await gateway.app(scope, receive, send)
    headers = dict(started["headers"])
    return started["status"], bytes(answer), b"event-stream" in headers[b"content-type"]
