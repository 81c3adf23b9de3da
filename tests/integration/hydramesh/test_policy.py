"""A policy in a running head: read at the start and on SIGHUP, and no task is lost by it."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.gateway_process import gateway_process
from support.processes.head_process import HeadProcess

DAIIC = Path(sys.executable).with_name("daiic")


def only(name: str) -> str:
    """Return a policy that lets tasks go to the worker with that name alone."""
    return f'(policy "only {name}" (rule "{name} alone" (require (= worker.name "{name}"))))'


async def policy_of(client: ClusterClient, name: str, refused: bool = False) -> pb.PolicyStatus:
    """Wait until the policy called `name` is in force, and another refused or not."""
    async with asyncio.timeout(PATIENCE):
        while True:
            policy = (await client.status()).policy
            if policy.name == name and refused == bool(policy.refused):
                return policy
            await asyncio.sleep(0.05)


async def served_by(client: ClusterClient) -> str:
    task = pb.Task(model="echo", text=pb.TextTask(prompt="x", max_tokens=2))
    async with asyncio.timeout(PATIENCE):
        return (await client.answer(task)).worker_id


async def join_two_workers(head: HeadProcess) -> None:
    for name in ("one", "two"):
        await WorkerStub.open([head.address], worker_id=name, interval=0.2)
    await head.wait_for_workers(2)


async def test_a_policy_is_replaced_on_sighup_and_stays_if_the_next_is_wrong(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    file = tmp_path / "a.policy"
    file.write_text(only("one"))
    async with (
        HeadProcess(kind=hydramesh, policy=file, storage="none") as head,
        ClusterClient([head.address]) as client,
    ):
        await join_two_workers(head)
        first = await policy_of(client, "only one")
        assert first.rules == 1 and len(first.digest) == 64
        assert {await served_by(client) for _ in range(4)} == {"one"}

        file.write_text('(policy "wrong"\n  (rule "a" (wieght 2)))')
        head.signal(signal.SIGHUP)
        refused = (await policy_of(client, "only one", refused=True)).refused
        assert f"{file}:2:13: " in refused and "did you mean weight?" in refused
        assert await served_by(client) == "one"

        file.write_text(only("two"))
        head.signal(signal.SIGHUP)
        await policy_of(client, "only two")
        assert {await served_by(client) for _ in range(4)} == {"two"}


def test_a_head_does_not_start_with_a_wrong_policy(hydramesh: heads.Head, tmp_path: Path) -> None:
    file = tmp_path / "a.policy"
    file.write_text('(policy "wrong"\n  (rule "a" (wieght 2))\n  (rule "b" (weight "x")))')
    done = subprocess.run(
        [*hydramesh.command, "--listen", "127.0.0.1:0", "--http-listen", "", "--policy", file],
        env={"HOME": str(tmp_path), **hydramesh.environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert f"{file}:2:13: " in done.stderr and f"{file}:3:21: " in done.stderr
    assert "has 2 mistakes" in done.stderr


def test_a_check_with_a_head_s_settings_warns_of_rules_that_do_nothing_there(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    (tmp_path / "a.policy").write_text('(policy "a"\n  (rule "late" (hedge (after 2 s))))')
    (tmp_path / "head.toml").write_text("hedge_share = 0\n")

    def warned(*arguments: str, status: int = 0) -> str:
        done = subprocess.run(
            [*hydramesh.command, "policy", "check", *arguments, "a.policy"],
            cwd=tmp_path,
            env={"HOME": str(tmp_path), **hydramesh.environment},
            capture_output=True,
            text=True,
        )
        assert done.returncode == status
        return done.stderr

    assert not warned()
    assert not warned("--hedge-share", "0.1")
    assert warned("--config", "head.toml").startswith('a.policy:2: warning: the rule "late" hedges')
    assert not warned("--config=head.toml", "--hedge-share=0.1")
    assert "unrecognized arguments: --hedge-much" in warned("--hedge-much=1", status=2)


async def test_the_page_and_the_command_line_explain_a_running_task(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    file = tmp_path / "a.policy"
    file.write_text(only("one"))
    async with (
        HeadProcess(kind=hydramesh, policy=file, storage="none") as head,
        gateway_process(f"--heads={head.address}") as gateway,
        gateway.http as http,
    ):
        await join_two_workers(head)
        await gateway.ready()
        policy = (await http.get("/api/cluster/policy")).json()
        assert (policy["name"], policy["rules"], policy["text"]) == ("only one", 1, only("one"))

        asked = {"model": "mute", "prompt": "x", "max_tokens": 2}
        running = asyncio.create_task(http.post("/v1/completions", json=asked))
        async with asyncio.timeout(PATIENCE):
            while not (tasks := (await http.get("/api/cluster/tasks")).json()["tasks"]):
                await asyncio.sleep(0.05)
        (task,) = tasks
        assert (task["kind"], task["model"], task["worker"]) == ("text", "mute", "one")
        explained = (await http.get(f"/api/cluster/tasks/{task['number']}")).json()
        one, two = explained["verdicts"]
        assert (one["name"], one["chosen"], two["name"], two["chosen"]) == (
            "one",
            True,
            "two",
            False,
        )
        assert "one alone" in two["reason"] + " ".join(two["rules"])

        said = await asyncio.to_thread(
            subprocess.run,
            [DAIIC, "status", "--head", head.address, "--explain", str(task["number"])],
            env={**os.environ, "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert said.returncode == 0, said.stderr
        assert "one alone" in said.stdout and "runs here" in said.stdout
        running.cancel()
