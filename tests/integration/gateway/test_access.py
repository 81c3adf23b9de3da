"""Who may use the gateway, how much, and how they are told."""

import asyncio
import json
import re

import httpx

from daiic.gateway.http.api_keys import KeyFile
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.gateway_in_process import GatewayInProcess
from support.peers.scripted_head import ScriptedHead, after_two_words, failing

SECRET = "the moon landing of 1969"
CHAT = {"model": "stub-chat", "messages": [{"role": "user", "content": SECRET}]}
PATH = "/v1/chat/completions"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_with_keys_everything_that_tells_or_does_something_needs_one(
    start_gateway: StartGateway, keys: KeyFile
) -> None:
    key = keys.create("ann")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    async with gateway.http as http:
        for path in ("/v1/models", "/v1/models/stub-chat", "/api/cluster"):
            assert (await http.get(path)).status_code == 401
            assert (await http.get(path, headers=bearer("daiic-00000000-x"))).status_code == 401
        assert (await http.get("/v1/models", headers=bearer(key))).status_code == 200
        for path in ("/v1/completions", "/v1/embeddings", "/v1/images/generations", PATH):
            refused = await http.post(path, json=CHAT)
            assert refused.status_code == 401
            assert refused.json()["error"]["code"] == "invalid_api_key"
        assert (await http.post(PATH, json=CHAT, headers=bearer(key))).status_code == 200
        for path in ("/", "/healthz", "/readyz", "/openapi.json"):
            assert (await http.get(path)).status_code == 200


async def test_no_route_forgets_to_ask_for_a_key(keys: KeyFile) -> None:
    keys.create("ann")
    gateway = GatewayInProcess(keys=keys)
    open_to_all = {"/", "/healthz", "/readyz", "/openapi.json", "/api/session", "/page/{file}"}
    open_to_all.add("/v1/images/files/{file}")
    asked = 0
    for route in gateway.app._app.routes:
        if route.path in open_to_all:
            continue
        path = re.sub(r"\{.*?\}", "x", route.path)
        for method in route.methods:
            head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
            _, answer = await gateway.talk([head.encode()])
            assert answer.startswith(b"HTTP/1.1 401"), (method, path, answer[:80])
            asked += 1
    assert asked > 15


async def test_keys_made_and_revoked_take_effect_at_once(
    start_gateway: StartGateway, keys: KeyFile
) -> None:
    keys.create("ann")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    async with gateway.http as http:
        bob = keys.create("bob")
        assert (await http.get("/v1/models", headers=bearer(bob))).status_code == 200
        keys.revoke("bob")
        assert (await http.get("/v1/models", headers=bearer(bob))).status_code == 401


async def test_what_runs_under_a_revoked_key_ends_at_once(
    start_gateway: StartGateway, keys: KeyFile, head: ScriptedHead
) -> None:
    ann, bob = keys.create("ann"), keys.create("bob")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    go_on = asyncio.Event()
    head.script = after_two_words(go_on.wait)
    async with gateway.http as http, asyncio.timeout(10):

        async def ask(key: str, **fields: object) -> httpx.Response:
            return await http.post(PATH, json={**CHAT, **fields}, headers=bearer(key))

        async def watch() -> str:
            return (await http.get("/api/cluster", headers=bearer(ann))).text

        whole, stream, others = (
            asyncio.create_task(asked)
            for asked in (ask(ann), ask(ann, stream=True), ask(bob, stream=True))
        )
        watching = asyncio.create_task(watch())
        await head.received(3)
        await asyncio.sleep(0.2)
        keys.revoke("ann")
        assert (await whole).status_code == 401
        for text in ((await stream).text, await watching):
            assert json.loads(text.strip().rpartition("data: ")[2])["error"]["code"] == (
                "invalid_api_key"
            )
        for _ in range(2):
            await head.cancelled.get()
        go_on.set()
        assert "[DONE]" in (await others).text


async def test_head_is_told_which_tasks_are_of_one_key_and_nothing_else_of_it(
    start_gateway: StartGateway, keys: KeyFile, head: ScriptedHead
) -> None:
    ann, bob = keys.create("ann"), keys.create("bob")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    async with gateway.http as http:
        for key in (ann, bob, ann):
            assert (await http.post(PATH, json=CHAT, headers=bearer(key))).status_code == 200
        await http.post("/v1/images/generations", json={"prompt": "x"}, headers=bearer(bob))
        embeddings = {"model": "stub-embed", "input": "x"}
        await http.post("/v1/embeddings", json=embeddings, headers=bearer(bob))
    named = [task.client for task in head.tasks]
    of_ann, of_bob = named[:2]
    assert named == [of_ann, of_bob, of_ann, of_bob, of_bob]
    assert len({"", "ann", "bob", of_ann, of_bob}) == 5


async def test_head_is_told_the_names_of_keys_where_that_is_asked_for(
    start_gateway: StartGateway, keys: KeyFile, head: ScriptedHead
) -> None:
    ann, bob = keys.create("ann"), keys.create("bob")
    gateway = await start_gateway(f"--api-keys-file={keys.path}", "--name-clients=true")
    async with gateway.http as http:
        for key in (ann, bob, ann):
            assert (await http.post(PATH, json=CHAT, headers=bearer(key))).status_code == 200
    assert [task.client for task in head.tasks] == ["ann", "bob", "ann"]


async def test_clients_without_keys_have_no_name_to_tell(
    start_gateway: StartGateway, head: ScriptedHead
) -> None:
    gateway = await start_gateway("--name-clients=true")
    async with gateway.http as http:
        assert (await http.post(PATH, json=CHAT)).status_code == 200
    (task,) = head.tasks
    assert len(task.client) == 16 and "127.0.0.1" not in task.client


async def test_image_files_need_no_key_since_their_names_are_secrets(
    start_gateway: StartGateway, keys: KeyFile
) -> None:
    key = keys.create("ann")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    async with gateway.http as http:
        made = await http.post("/v1/images/generations", json={"prompt": "x"}, headers=bearer(key))
        url = made.json()["data"][0]["url"]
        assert (await http.get(url)).status_code == 200
        assert (await http.get("/v1/images/files/other.png")).status_code == 404


async def test_no_prompt_answer_or_key_is_logged(
    start_gateway: StartGateway, keys: KeyFile, head: ScriptedHead
) -> None:
    key = keys.create("ann")
    gateway = await start_gateway(f"--api-keys-file={keys.path}", "--log-level=debug")
    async with gateway.http as http:
        answer = await http.post(PATH, json=CHAT, headers=bearer(key))
        assert SECRET in answer.text
        await http.post(PATH, json={**CHAT, "n": 99}, headers=bearer(key))
        head.script = failing(pb.INTERNAL)
        await http.post(PATH, json=CHAT, headers=bearer(key))
    await asyncio.sleep(0.2)
    log = gateway.log
    assert "client=ann" in log
    assert SECRET not in log and key not in log and key.rpartition("-")[2] not in log


async def test_request_ids_are_in_answers_and_in_the_log(start_gateway: StartGateway) -> None:
    gateway = await start_gateway("--log-level=debug")
    async with gateway.http as http:
        own = await http.post(PATH, json=CHAT, headers={"X-Request-Id": "my-id.1"})
        assert own.headers["x-request-id"] == "my-id.1"
        assert own.json()["id"] == "chatcmpl-my-id.1"
        forged = await http.post(PATH, json=CHAT, headers={"X-Request-Id": "a b\tc"})
        assert re.fullmatch(r"req-[0-9a-f]{16}", forged.headers["x-request-id"])
        failed = await http.post(PATH, json={})
    await asyncio.sleep(0.2)
    log = gateway.log
    for answer in (own, forged, failed):
        assert f"request_id={answer.headers['x-request-id']}" in log


async def test_limits_hold_per_key(start_gateway: StartGateway, keys: KeyFile) -> None:
    ann, bob = keys.create("ann"), keys.create("bob")
    gateway = await start_gateway(f"--api-keys-file={keys.path}", "--requests-per-minute=2")
    async with gateway.http as http:
        statuses = [
            (await http.post(PATH, json=CHAT, headers=bearer(ann))).status_code for _ in range(2)
        ]
        refused = await http.post(PATH, json=CHAT, headers=bearer(ann))
        assert (*statuses, refused.status_code) == (200, 200, 429)
        assert 1 <= int(refused.headers["retry-after"]) <= 30
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert (await http.post(PATH, json=CHAT, headers=bearer(bob))).status_code == 200


async def test_requests_at_once_are_limited(
    start_gateway: StartGateway, head: ScriptedHead
) -> None:
    gateway = await start_gateway("--concurrent-requests=1")
    go_on = asyncio.Event()

    async def slow(task: pb.Task):
        await go_on.wait()
        yield pb.Result(text="done", final=True)

    head.script = slow
    async with gateway.http as http:
        first = asyncio.create_task(http.post(PATH, json=CHAT))
        await head.received(1)
        assert (await http.post(PATH, json=CHAT)).status_code == 429
        go_on.set()
        assert (await first).status_code == 200
        assert (await http.post(PATH, json=CHAT)).status_code == 200


async def test_a_body_over_the_limit_is_refused_whether_announced_or_not(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway("--max-body-bytes=2000")
    async with gateway.http as http:
        announced = await http.post(PATH, json={**CHAT, "user": "x" * 2000})

        async def chunks():
            for _ in range(30):
                yield b" " * 100

        unannounced = await http.post(
            PATH, content=chunks(), headers={"Content-Type": "application/json"}
        )
    for answer in (announced, unannounced):
        assert answer.status_code == 413
        assert "max_body_bytes" in answer.json()["error"]["message"]


async def test_a_body_that_does_not_arrive_is_not_waited_for(start_gateway: StartGateway) -> None:
    gateway = await start_gateway("--request-timeout=0.5")
    reader, writer = await asyncio.open_connection(*gateway.host_port)
    writer.write(
        f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        "Content-Length: 100\r\n\r\n{".encode()
    )
    answer = await asyncio.wait_for(reader.read(), 5)
    assert answer.startswith(b"HTTP/1.1 408") and b"body_timeout" in answer
    writer.close()
