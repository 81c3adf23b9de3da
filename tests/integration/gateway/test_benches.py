"""Benches through a gateway: who may start one, what is told, and what stays of it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx

from daiic.gateway.http.api_keys import KeyFile
from daiic.tether import tethered
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway

ASKED = {"model": "stub-chat", "streams": 2, "tokens": 4}


def told(answer: httpx.Response) -> list[dict[str, Any]]:
    """What a bench told, event by event."""
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line[:1] == "d"]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


async def test_it_measures_tells_how_far_it_is_and_keeps_the_result(
    start_gateway: StartGateway, head: ScriptedHead, tmp_path: Path
) -> None:
    head.status.workers[0].heartbeat.models[0].bytes = 5 << 20
    kept = f"--state-dir={tmp_path / 'state'}"
    gateway = await start_gateway(kept)
    async with gateway.http as http:
        *steps, measured = told(await http.post("/api/benches", json=ASKED))
        shown = (await http.get("/api/benches")).json()
    assert [step["streams"] for step in steps if step["streams"]] == [2, 1]
    assert any(step["phase"] == "load" and step["share"] == 0.5 for step in steps)
    assert [done["streams"] for done in measured["rounds"]] == [1, 2]
    assert all(done["bytes"] == 5 << 20 and done["total_rate"] > 0 for done in measured["rounds"])
    assert measured["name"] == "stub" and measured["device"] == "AMD EPYC"
    assert shown["may_start"] and not shown["running"] and shown["measured"] == [measured]
    again = await start_gateway(kept)
    async with again.http as http:
        assert (await http.get("/api/benches")).json()["measured"] == [measured]


async def test_the_command_measures_through_a_gateway(gateway: RunningGateway) -> None:
    async def bench(*arguments: str) -> tuple[int | None, str, str]:
        process = await asyncio.create_subprocess_exec(
            *tethered(Path(sys.executable).with_name("daiic"), "bench", *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "DAIIC_URL": gateway.url, "COLUMNS": "160"},
        )
        out, err = await process.communicate()
        return process.returncode, out.decode(), err.decode()

    status, out, err = await bench("-m", "stub-chat", "--streams", "2", "--tokens", "4")
    assert status == 0, err
    assert "stub" in out and "█" in out
    async with gateway.http as http:
        shown = (await http.get("/api/benches")).json()
    assert [measured["model"] for measured in shown["measured"]] == ["stub-chat"]
    status, _, err = await bench("-m", "stub-chat", "--worker", "nobody")
    assert status != 0 and "no worker nobody" in err


async def test_only_keys_that_may_start_one(
    start_gateway: StartGateway, keys: KeyFile, head: ScriptedHead
) -> None:
    plain, may = keys.create("ann"), keys.create("bob", may_bench=True)
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    async with gateway.http as http:
        for key, allowed in ((plain, False), (may, True)):
            headers = {"Authorization": f"Bearer {key}"}
            shown = (await http.get("/api/benches", headers=headers)).json()
            assert shown["may_start"] is allowed
            answer = await http.post("/api/benches", json=ASKED, headers=headers)
            assert answer.status_code == (200 if allowed else 403)
            assert ("--may-bench" in answer.text) is not allowed
        assert (await http.get("/api/benches")).status_code == 401
    open_to_all = await start_gateway("--allow-keyless-public=true", "--listen=0.0.0.0:0")
    url = f"http://127.0.0.1:{open_to_all.host_port[1]}"
    async with httpx.AsyncClient(base_url=url) as http:
        assert (await http.post("/api/benches", json=ASKED)).status_code == 403


async def test_one_at_a_time_and_it_ends_with_its_request(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def endless(task: pb.Task) -> AsyncIterator[pb.Result]:
        if task.HasField("text"):
            await asyncio.Event().wait()
        yield pb.Result(final=True)

    head.script = endless
    async with gateway.http as http, gateway.http as other:
        async with http.stream("POST", "/api/benches", json=ASKED) as running:
            assert running.status_code == 200
            await asyncio.wait_for(head.received(2), 10)
            assert (await other.get("/api/benches")).json()["running"]
            assert (await other.post("/api/benches", json=ASKED)).status_code == 409
        await asyncio.wait_for(head.cancelled.get(), 10)
        async with asyncio.timeout(10):
            while (await other.get("/api/benches")).json()["running"]:
                await asyncio.sleep(0.02)


async def test_what_cannot_be_measured_is_refused_by_name(gateway: RunningGateway) -> None:
    async with gateway.http as http:
        for wrong, code, said in (
            ({"streams": 65}, 400, "streams"),
            ({"tokens": 100_000}, 400, "tokens"),
            ({"workers": ["x"] * 1000}, 400, "workers"),
            ({"surprise": 1}, 400, "surprise"),
            ({"model": "none-such"}, 404, "none-such"),
            ({"workers": ["elsewhere"]}, 503, "elsewhere"),
        ):
            answer = await http.post("/api/benches", json={**ASKED, **wrong})
            assert answer.status_code == code, answer.text
            assert said in answer.json()["error"]["message"]
        assert (await http.get("/api/benches")).json()["measured"] == []
