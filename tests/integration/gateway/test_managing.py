"""Administrators unload, pin and delete models; nobody else does."""

from collections.abc import AsyncIterator

import httpx
import ollama
import pytest

from daiic.errors import TaskError
from daiic.gateway.http.api_keys import KeyFile
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway


async def doing(task: pb.Task) -> AsyncIterator[pb.Result]:
    if task.worker_id == "busy":
        raise TaskError(pb.BAD_REQUEST, "tasks run on it", "wait")
    yield pb.Result(final=True)


@pytest.fixture
def two_workers(head: ScriptedHead) -> ScriptedHead:
    """A cluster in which a second worker, a busy one, has the models too, from a download."""
    first = head.status.workers[0].heartbeat
    first.models[0].downloaded = True
    second = head.status.workers.add()
    second.heartbeat.CopyFrom(first)
    second.heartbeat.worker_id = second.heartbeat.name = "busy"
    head.script = doing
    return head


async def post(gateway: RunningGateway, **body: object) -> httpx.Response:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        return await http.post("/api/models", json=body)


async def test_all_workers_that_have_the_model_are_asked_and_each_says_how_it_went(
    two_workers: ScriptedHead, gateway: RunningGateway
) -> None:
    answer = await post(gateway, model="stub-chat", action="unload")
    assert answer.json()["outcomes"] == [
        {"worker": "w1", "name": "stub", "error": ""},
        {"worker": "busy", "name": "busy", "error": "tasks run on it: wait"},
    ]
    asked = [(task.worker_id, task.manage.action) for task in two_workers.tasks]
    assert asked == [("w1", pb.ManageTask.UNLOAD), ("busy", pb.ManageTask.UNLOAD)]


async def test_one_worker_may_be_named(two_workers: ScriptedHead, gateway: RunningGateway) -> None:
    for action in ("pin", "delete"):
        answer = await post(gateway, model="stub-chat", action=action, workers=["w1"])
        assert answer.status_code == 200
    assert [task.manage.action for task in two_workers.tasks] == [
        pb.ManageTask.PIN,
        pb.ManageTask.DELETE,
    ]
    missing = await post(gateway, model="stub-chat", action="pin", workers=["w9"])
    assert missing.status_code == 404
    not_downloaded = await post(gateway, model="stub-embed", action="delete")
    assert not_downloaded.status_code == 404 and "download" in not_downloaded.text
    assert (await post(gateway, model="stub-chat", action="paint")).status_code == 400


async def test_keys_of_others_are_refused(
    two_workers: ScriptedHead, start_gateway, keys: KeyFile
) -> None:
    plain, admin = keys.create("plain"), keys.create("admin", is_admin=True)
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    body = {"model": "stub-chat", "action": "unpin"}
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        for key, status in ((plain, 403), (admin, 404)):  # there is nothing pinned
            headers = {"authorization": f"Bearer {key}"}
            answer = await http.post("/api/models", json=body, headers=headers)
            assert answer.status_code == status
    assert not two_workers.tasks


async def test_without_keys_whom_a_proxy_lets_in_is_no_administrator(
    two_workers: ScriptedHead, start_gateway
) -> None:
    near: dict[str, str] = {}
    far = {"x-forwarded-for": "203.0.113.7"}
    named = {"host": "ai.example.org"}
    plain, public = (
        await start_gateway(),
        await start_gateway("--public-url=https://ai.example.org"),
    )
    for gateway, headers, may in (
        (plain, near, True),
        (plain, far, False),
        (public, near, False),
        (public, named, False),
    ):
        async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
            told = await http.get("/api/models", headers=headers)
            assert told.json() == {"may_manage": may}
            body = {"model": "stub-chat", "action": "unpin"}
            answer = await http.post("/api/models", json=body, headers=headers)
            assert answer.status_code == (404 if may else 403)  # there is nothing pinned


async def test_ollamas_client_deletes(two_workers: ScriptedHead, gateway: RunningGateway) -> None:
    client = ollama.AsyncClient(host=gateway.url, timeout=60)
    with pytest.raises(ollama.ResponseError, match="tasks run on it"):
        await client.delete("stub-chat")
    assert two_workers.tasks[0].manage.action == pb.ManageTask.DELETE
