"""The OpenAPI document is true, and no request that it allows, or forbids, breaks the gateway."""

import asyncio
import sys
from pathlib import Path

from daiic.tether import tethered
from support.processes.gateway_process import RunningGateway

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "response_headers_conformance",
    "unsupported_method",
)


async def test_schemathesis_finds_nothing(gateway: RunningGateway, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *tethered(
            Path(sys.executable).with_name("schemathesis"),
            "run",
            f"{gateway.url}/openapi.json",
            f"--checks={','.join(CHECKS)}",
            "--phases=coverage,fuzzing",
            "--max-examples=40",
            "--seed=17",
            "--no-color",
        ),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=tmp_path,
    )
    output, _ = await asyncio.wait_for(process.communicate(), 300)
    assert process.returncode == 0, output.decode()
    assert "a request failed" not in gateway.log and "Exception" not in gateway.log


async def test_every_route_of_the_api_is_described(gateway: RunningGateway) -> None:
    async with gateway.http as http:
        described = (await http.get("/openapi.json")).json()
    assert described["openapi"].startswith("3.2")
    assert set(described["paths"]) == {
        "/v1/models",
        "/v1/models/{model}",
        "/v1/usage",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/responses",
        "/v1/responses/{response_id}",
        "/v1/responses/{response_id}/input_items",
        "/v1/responses/{response_id}/cancel",
        "/v1/images/generations",
        "/v1/images/edits",
        "/v1/images/variations",
        "/v1/embeddings",
        "/v1/rerank",
        "/v2/rerank",
        "/rerank",
    }
    chat = described["components"]["schemas"]["ChatRequest"]
    assert {"model", "messages"} == set(chat["required"])
    assert chat["properties"]["n"]["anyOf"][0]["maximum"] == 16
    events = described["paths"]["/v1/chat/completions"]["post"]["responses"]["200"]["content"]
    event = events["text/event-stream"]["itemSchema"]["properties"]["data"]["anyOf"][1]
    named = [schema["$ref"].rpartition("/")[2] for schema in event["contentSchema"]["anyOf"]]
    assert named == ["ChatChunk", "ErrorBody"]
