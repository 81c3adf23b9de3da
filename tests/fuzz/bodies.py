"""Good bodies of requests, and where they go: what the fuzzer of bodies begins with."""

import base64
from typing import Any

from support.peers.scripted_head import PNG

_PNG = base64.b64encode(PNG).decode()
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
_MESSAGES = {
    "model": "stub-chat",
    "max_tokens": 5,
    "system": [{"type": "text", "text": "x"}],
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "a b"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "x", "signature": ""},
                {"type": "tool_use", "id": "a", "name": "f", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "b", "is_error": False},
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/png", "data": _PNG},
                },
                {"type": "document", "source": {"type": "text", "data": "c"}},
            ],
        },
    ],
    "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "output_config": {"effort": "low", "format": {"type": "json_schema", "schema": {}}},
    "stop_sequences": ["x"],
    "temperature": 0.5,
    "top_k": 4,
    "stream": True,
}
_OLLAMA = {
    "model": "stub-chat",
    "messages": [
        {"role": "user", "content": "a b", "images": [_PNG]},
        {
            "role": "assistant",
            "content": "",
            "thinking": "x",
            "tool_calls": [{"function": {"name": "f", "arguments": {}}}],
        },
        {"role": "tool", "content": "b", "tool_name": "f"},
    ],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "options": {"num_predict": 4, "temperature": 0, "seed": 7, "stop": ["x"], "num_ctx": 8},
    "format": {"type": "object"},
    "think": "low",
    "logprobs": True,
    "top_logprobs": 2,
    "keep_alive": "5m",
    "stream": True,
}
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/v1/chat/completions", _CHAT),
    (
        "/v1/chat/completions",
        {
            "model": "stub-chat",
            "messages": [{"role": "user", "content": "x"}],
            "structured_outputs": {"choice": ["a", "b"]},
            "regex": "a+",
            "grammar": "start: /a/",
        },
    ),
    ("/v1/completions", {"model": "stub-chat", "prompt": [1, 2, [3, 4]], "logprobs": 2}),
    ("/v1/responses", _RESPONSE),
    (
        "/v1/completions",
        {
            "model": "stub-chat",
            "prompt": ["a", "b"],
            "n": 2,
            "seed": -1,
            "best_of": 2,
            "echo": False,
        },
    ),
    (
        "/v1/images/generations",
        {
            "prompt": "x",
            "size": "64x64",
            "n": 1,
            "seed": 1,
            "steps": 3,
            "guidance": 7.5,
            "stream": True,
        },
    ),
    (
        "/v1/images/generations",
        {
            "prompt": "x",
            "model": "stub/image",
            "response_format": "b64_json",
            "negative_prompt": "y",
        },
    ),
    ("/v1/embeddings", {"model": "stub-embed", "input": ["a", "b"], "encoding_format": "base64"}),
    (
        "/v1/embeddings",
        {"model": "stub-embed", "input": [[1, 2], [3]], "dimensions": 3, "prompt_name": "query"},
    ),
    (
        "/v1/rerank",
        {
            "model": "stub-rerank",
            "query": "q",
            "documents": ["a", {"text": "b"}],
            "top_n": 1,
            "return_documents": True,
        },
    ),
    (
        "/v1/audio/speech",
        {"model": "stub-voice", "input": "a", "voice": "ann", "response_format": "wav", "seed": 1},
    ),
    (
        "/v1/audio/speech",
        {"model": "stub-voice", "input": "a", "voice": {"id": "alloy"}, "stream_format": "sse"},
    ),
    ("/v1/messages", _MESSAGES),
    (
        "/v1/messages/count_tokens",
        {"model": "stub-chat", "messages": [{"role": "user", "content": "x"}], "tools": []},
    ),
    ("/api/chat", _OLLAMA),
    (
        "/api/generate",
        {"model": "stub-chat", "prompt": "a b", "system": "x", "raw": False, "stream": False},
    ),
    ("/api/embed", {"model": "stub-embed", "input": ["a", "b"], "dimensions": 3, "truncate": True}),
    ("/api/embeddings", {"model": "stub-embed", "prompt": "a"}),
    ("/api/pull", {"model": "stub-chat", "stream": True}),
    ("/api/show", {"model": "stub-chat", "verbose": True}),
    ("/api/models", {"model": "stub-chat", "action": "unload", "workers": ["w1"]}),
    ("/api/delete", {"model": "stub-chat"}),
]
"""Paths take POST, but /api/delete takes DELETE."""
