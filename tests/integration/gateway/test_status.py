"""What the gateway tells of the cluster and of itself."""

import asyncio
import contextlib
import json
import operator
import socket

from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead, failing, text_model
from support.processes.gateway_process import RunningGateway, gateway_process

CHAT = {"model": "stub-chat", "messages": [{"role": "user", "content": "one two"}]}
PATH = "/v1/chat/completions"


async def test_the_live_view_follows_the_cluster(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async with gateway.http as http:
        await http.post(PATH, json=CHAT)
    async with asyncio.timeout(8), contextlib.aclosing(gateway.snapshots()) as snapshots:
        first = await anext(snapshots)
        worker = first["workers"][0]
        assert (worker["name"], worker["backend"], worker["state"]) == ("stub", "cpu", "ready")
        assert (worker["ram_total"], worker["ram_free"]) == (8 << 30, 5 << 30)
        assert {model["kind"] for model in worker["models"]} == {
            "text",
            "image",
            "embedding",
            "reranking",
        }
        can = {model["name"]: model["capabilities"] for model in worker["models"]}
        assert can["stub/image"] == ["paint"] and "chat" in can["stub-chat"]
        task = first["tasks"][0]
        assert (task["endpoint"], task["worker"], task["outcome"]) == ("chat", "stub", "ok")
        head.status.workers[0].heartbeat.models.append(
            pb.ModelStatus(name="new", kind=pb.TEXT, state=pb.LOADING, progress=0.25)
        )
        async for later in snapshots:
            if later["workers"][0]["models"][-1]["name"] == "new":
                break
        assert later["workers"][0]["models"][-1]["progress"] == 0.25
        assert "one two" not in json.dumps(later)


async def test_no_name_of_a_member_can_look_like_another_on_the_page(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    name = "a\u202e\x1b[2J\u200b"
    worker = head.status.workers[0]
    heartbeat = worker.heartbeat
    heartbeat.name = heartbeat.device = heartbeat.version = worker.set_aside.reason = name
    heartbeat.cards.add(name=name)
    heartbeat.models.add(name=name, engine=name, choice=name, detail=name, quantization=name)
    for _ in range(2):
        head.status.heads.add(id=name, version=name, address=name)
    async with asyncio.timeout(8), contextlib.aclosing(gateway.snapshots()) as snapshots:
        async for snapshot in snapshots:
            if snapshot["heads"]:
                break
    told = json.dumps(snapshot, ensure_ascii=False)
    assert "a\\\\u202e\\\\x1b[2J\\\\u200b" in told
    assert not set("\u202e\x1b\u200b") & set(told) and "\\u001b" not in told


async def test_many_watchers_cost_the_head_no_more_questions_than_one(
    start_gateway: StartGateway, head: ScriptedHead
) -> None:
    gateway = await start_gateway()
    seen = [0] * 20
    looked = asyncio.Condition()

    async def watch(number: int) -> None:
        async for _ in gateway.snapshots():
            async with looked:
                seen[number] += 1
                looked.notify_all()

    async def all_have_seen(more: int) -> None:
        least = [count + more for count in seen]
        async with asyncio.timeout(60), looked:
            await looked.wait_for(lambda: all(map(operator.ge, seen, least)))

    watchers = [asyncio.create_task(watch(number)) for number in range(len(seen))]
    await all_have_seen(1)
    before, asked_before = max(seen), head.status_questions
    await all_have_seen(2)
    for watcher in watchers:
        watcher.cancel()
    assert head.status_questions - asked_before <= 2 * (max(seen) - before) + 2


async def test_without_a_head_answers_say_so(start_gateway: StartGateway) -> None:
    async with gateway_process("--heads=127.0.0.1:9") as gateway, gateway.http as http:
        assert (await http.get("/healthz")).status_code == 200
        ready = await http.get("/readyz")
        assert ready.status_code == 503 and "head" in ready.text
        models = await http.get("/v1/models")
        assert models.status_code == 503 and models.json()["error"]["code"] == "head_unreachable"
        answer = await http.post(PATH, json=CHAT)
        assert answer.status_code == 503 and "daiic-head" in answer.json()["error"]["message"]


async def test_an_unknown_model_gets_the_list_of_those_that_are_here(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    head.script = failing(pb.MODEL_NOT_FOUND, "no worker has x", "")
    async with gateway.http as http:
        answer = await http.post(PATH, json={**CHAT, "model": "x"})
    assert answer.status_code == 404 and answer.json()["error"]["param"] == "model"
    assert "stub-chat, stub-embed, stub-rerank, stub/image" in answer.json()["error"]["message"]


async def test_without_a_model_images_use_the_only_one_or_ask(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async with gateway.http as http:
        assert (await http.post("/v1/images/generations", json={"prompt": "x"})).is_success
        assert head.tasks[0].model == "stub/image"
        other = head.status.workers[0].heartbeat.models.add()
        other.CopyFrom(text_model("other"))
        other.kind = pb.IMAGE
        for _ in range(50):
            answer = await http.post("/v1/images/generations", json={"prompt": "x"})
            if answer.status_code == 400:
                break
            await asyncio.sleep(0.1)
    assert "choose one of other, stub/image" in answer.json()["error"]["message"]


async def test_metrics_count_requests_by_models_that_exist(
    start_gateway: StartGateway, head: ScriptedHead
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    gateway = await start_gateway(f"--http-listen=127.0.0.1:{port}")
    async with gateway.http as http:
        await http.post(PATH, json=CHAT)
        await http.post(PATH, json={**CHAT, "stream": True})
        for number in range(5):
            await http.post(PATH, json={**CHAT, "model": f"made-up-{number}"})
        await http.post("/v1/images/generations", json={"prompt": "x", "n": 2})
        head.script = failing(pb.QUEUE_FULL)
        await http.post(PATH, json=CHAT)
        text = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    for sample in (
        'requests_total{endpoint="chat",model="stub-chat",status="200"} 2.0',
        'requests_total{endpoint="chat",model="stub-chat",status="429"} 1.0',
        'requests_total{endpoint="chat",model="unknown",status="200"} 5.0',
        'tokens_total{direction="completion",model="stub-chat"} 4.0',
        'first_token_seconds_count{model="stub-chat"} 1.0',
        'images_total{model="stub/image"} 2.0',
        'task_errors_total{error="queue_full"} 1.0',
        "in_flight 0.0",
        "cluster_workers 1.0",
        "cluster_reachable 1.0",
    ):
        assert f"daiic_gateway_{sample}" in text, text
    assert "made-up" not in text


async def test_what_is_not_there_is_answered_in_the_shape_of_the_api(
    gateway: RunningGateway,
) -> None:
    async with gateway.http as http:
        for method, path, status in (
            ("GET", "/v1/nothing", 404),
            ("GET", PATH, 405),
            ("POST", "/v1/models", 405),
            ("GET", "/page/../settings.py", 404),
            ("GET", "/page/%2e%2e%2fsettings.py", 404),
        ):
            answer = await http.request(method, path)
            assert answer.status_code == status
            assert answer.json()["error"]["message"]


async def test_the_page_lets_nothing_in_from_elsewhere(gateway: RunningGateway) -> None:
    async with gateway.http as http:
        page = await http.get("/")
        assert page.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "unsafe" not in page.headers["content-security-policy"]
        again = await http.get("/", headers={"If-None-Match": page.headers["etag"]})
        assert again.status_code == 304
