"""Administrators see the policy and the tasks, and why one is where it is; nobody else does."""

import httpx

from daiic.gateway.http.api_keys import KeyFile
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway

ALL = ("/api/cluster/tasks", "/api/cluster/tasks/7", "/api/cluster/policy")


def deciding(head: ScriptedHead) -> None:
    """Let `head` have a policy, and a task that it explains."""
    head.status.policy.CopyFrom(
        pb.PolicyStatus(
            name="house", digest="ab", rules=2, loaded_us=5_000_000, text="(policy\u202e\n)"
        )
    )
    head.status.heads.add(id="h")
    head.status.tasks.add(
        number=7, kind="text", model="m", worker_id="w1", hedge_worker_id="w2", attempts=1
    )
    head.status.tasks.add(number=8, kind="text", model="m", awaits_worker_id="w1")
    explanation = head.status.explanation
    explanation.number = 7
    explanation.rules.append("night")
    explanation.verdicts.add(worker_id="w1", name="stub", chosen=True, reason="near", seconds=2.5)
    explanation.verdicts.add(worker_id="w2", reason="far", rules=["solar"])


async def get(gateway: RunningGateway, path: str, key: str = "") -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        return await http.get(path, headers=headers)


async def test_what_the_head_tells_is_handed_on(
    head: ScriptedHead, gateway: RunningGateway
) -> None:
    deciding(head)
    tasks, task, policy = [(await get(gateway, path)).json() for path in ALL]
    first, second = tasks["tasks"]
    assert tasks["explained"]
    assert (first["number"], first["worker"], first["hedge"]) == (7, "stub", "w2")
    assert (first["awaits"], second["worker"], second["awaits"]) == ("", "", "stub")
    assert task == {
        "number": 7,
        "rules": ["night"],
        "verdicts": [
            {
                "worker": "w1",
                "name": "stub",
                "chosen": True,
                "reason": "near",
                "seconds": 2.5,
                "rules": [],
            },
            {
                "worker": "w2",
                "name": "w2",
                "chosen": False,
                "reason": "far",
                "seconds": None,
                "rules": ["solar"],
            },
        ],
    }
    assert policy == {
        "name": "house",
        "rules": 2,
        "digest": "ab",
        "loaded": 5,
        "text": "(policy\\u202e\n)",
        "refused": "",
    }


async def test_a_head_that_tells_nothing_leaves_nothing_to_show(gateway: RunningGateway) -> None:
    tasks, task, policy = [await get(gateway, path) for path in ALL]
    assert tasks.json() == {"tasks": [], "explained": False}
    assert task.status_code == policy.status_code == 404
    assert "nothing of a task 7: it is over" in task.json()["error"]["message"]
    assert "no policy" in policy.json()["error"]["message"]


async def test_what_is_no_number_is_refused(gateway: RunningGateway) -> None:
    for number in ("0", "-1", "x", "%D9%A7", "9" * 5000, str(1 << 64)):
        answer = await get(gateway, f"/api/cluster/tasks/{number}")
        assert answer.status_code == 400, number
        assert answer.json()["error"]["param"] == "number"


async def test_only_administrators_are_told(
    head: ScriptedHead, start_gateway: StartGateway, keys: KeyFile
) -> None:
    deciding(head)
    plain, admin = keys.create("plain"), keys.create("boss", is_admin=True)
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    for path in ALL:
        refused = await get(gateway, path, plain)
        assert refused.status_code == 403 and refused.json()["error"]["code"] == "not_admin"
        assert (await get(gateway, path, admin)).status_code == 200
