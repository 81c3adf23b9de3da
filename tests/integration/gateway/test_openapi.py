"""The OpenAPI document is true, and no request that it allows, or forbids, breaks the gateway."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from daiic.tether import tethered
from support.peers.scripted_head import ScriptedHead, able_worker
from support.processes.gateway_process import RunningGateway, gateway_process

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)
MODELS = {
    "Image": "stub/image",
    "Embed": "stub-embed",
    "Rerank": "stub-rerank",
    "Trans": "stub-hear",
    "Speech": "stub-voice",
}
"""Of requests whose type has such a name; others are for the text model."""


def naming_models(document: dict[str, Any]) -> dict[str, Any]:
    """Return `document` with names of models that there are, so that requests get to workers."""
    for name, schema in document["components"]["schemas"].items():
        if name.endswith("Request"):
            right = next((model for part, model in MODELS.items() if part in name), "stub-chat")
            schema["properties"]["model"] = {"enum": [right, right, right, "another"]}
    return document


async def test_schemathesis_finds_nothing(head: ScriptedHead, tmp_path: Path) -> None:
    head.status = able_worker()
    async with gateway_process(f"--heads={head.address}") as gateway:
        await gateway.ready()
        async with gateway.http as http:
            described = (await http.get("/openapi.json")).json()
        written = tmp_path / "openapi.json"
        written.write_text(json.dumps(naming_models(described)), "utf-8")
        process = await asyncio.create_subprocess_exec(
            *tethered(
                Path(sys.executable).with_name("schemathesis"),
                "run",
                written,
                f"--url={gateway.url}",
                f"--checks={','.join(CHECKS)}",
                "--phases=coverage,fuzzing",
                "--max-examples=20",
                "--seed=17",
                "--no-color",
            ),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=tmp_path,
        )
        output, _ = await asyncio.wait_for(process.communicate(), 900)
    assert process.returncode == 0, output.decode()
    assert "a request failed" not in gateway.log and "Exception" not in gateway.log
    work = {task.WhichOneof("work") for task in head.tasks}
    assert work >= {"text", "image", "embed", "rerank", "load", "manage", "transcribe", "speak"}


async def test_every_api_is_described(gateway: RunningGateway) -> None:
    async with gateway.http as http:
        described = (await http.get("/openapi.json")).json()
    assert described["openapi"].startswith("3.2")
    chat = described["components"]["schemas"]["ChatRequest"]
    assert {"model", "messages"} == set(chat["required"])
    assert chat["properties"]["n"]["anyOf"][0]["maximum"] == 16

    def parts(path: str, media_type: str) -> dict[str, Any]:
        answer = described["paths"][path]["post"]["responses"]["200"]["content"]
        return answer[media_type]["itemSchema"]

    def named(schema: dict[str, Any]) -> list[str]:
        return [one["$ref"].rpartition("/")[2] for one in schema["anyOf"]]

    event = parts("/v1/chat/completions", "text/event-stream")
    mark, data = event["properties"]["data"]["anyOf"]
    assert mark == {"const": "[DONE]"}
    assert named(data["contentSchema"]) == ["ChatChunk", "ErrorBody"]
    event = parts("/v1/messages", "text/event-stream")
    messages = named(event["properties"]["data"]["contentSchema"])
    assert messages[0] == "AnthropicMessageStart" and messages[-1] == "AnthropicErrorBody"
    lines = parts("/api/chat", "application/x-ndjson")
    assert named(lines) == ["OllamaLine", "OllamaErrorBody"]
