"""Recorded traffic goes through a policy in simulation, beside what really happened."""

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess

TASKS = 200
ALL_ALIKE = '(policy "all alike" (rule "all" (weight 1)))'
WITHOUT_ONE = '(policy "without one" (rule "not one" (exclude (= worker.name "one"))))'


def replay(kind: heads.Head, *arguments: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*kind.command, "policy", "replay", *map(str, arguments)],
        env={**os.environ, **kind.environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


async def record(kind: heads.Head, state: Path) -> None:
    """Have a head record `TASKS` of 1 to 20 parts, each 20 ms after the last, on two workers."""
    async with (
        HeadProcess(kind=kind, state_dir=state, drain_timeout=1) as head,
        ClusterClient([head.address]) as client,
    ):
        for name in ("one", "two"):
            await WorkerStub.open([head.address], worker_id=name, slots=4, interval=0.5)
        await head.wait_for_workers(2)
        await asyncio.sleep(3)  # the recorder looks at the workers once a second

        async def ask(number: int) -> None:
            await asyncio.sleep(number * 0.04)
            text = pb.TextTask(prompt="x", max_tokens=1 + number * 7 % 20)
            await client.answer(pb.Task(model="count", text=text))

        await asyncio.gather(*map(ask, range(TASKS)))
        head.signal(signal.SIGTERM)
        assert await head.ended() == 0


async def test_a_replay_tells_its_error_and_what_a_policy_would_change(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    await record(hydramesh, state)
    candidate = tmp_path / "candidate.policy"
    candidate.write_text(WITHOUT_ONE)
    alike = tmp_path / "alike.policy"
    alike.write_text(ALL_ALIKE)

    done = replay(hydramesh, candidate, "--state-dir", state, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    recorded, simulated, changed = (found[key] for key in ("recorded", "simulated", "candidate"))
    assert found["policy"] == "without one" and found["in_force"] is None
    assert recorded["tasks"] == recorded["answered"] == TASKS
    assert set(recorded["workers"]) == {"one", "two"}
    # What the head did then, it does again.
    assert simulated["answered"] == TASKS and not simulated["failed"]
    assert all(abs(found["error"][share]) < 0.25 for share in ("p50", "p90", "p99"))
    for name in ("one", "two"):
        tasks = recorded["workers"][name]["tasks"]
        assert abs(simulated["workers"][name]["tasks"] - tasks) < 0.25 * TASKS
    # Without a worker the other one has all of the tasks, and they wait.
    assert changed["answered"] == TASKS and set(changed["workers"]) == {"two"}
    assert changed["total"]["p90"] > simulated["total"]["p90"]

    assert replay(hydramesh, candidate, "--state-dir", state, "--json").stdout == done.stdout
    shown = replay(hydramesh, alike, "--in-force", alike, "--state-dir", state, "--since", "30min")
    assert shown.returncode == 0, shown.stderr
    assert f"{TASKS} tasks replayed" in shown.stdout
    assert 'with the policy "all alike" in force' in shown.stdout
    rows = [line.split() for line in shown.stdout.splitlines()]
    (answered,) = (row[1:] for row in rows if row[:1] == ["answered"])
    assert answered == [str(TASKS)] * 3


def test_a_replay_says_what_it_lacks(hydramesh: heads.Head, tmp_path: Path) -> None:
    policy = tmp_path / "a.policy"
    policy.write_text(ALL_ALIKE)
    wrong = tmp_path / "wrong.policy"
    wrong.write_text('(policy "wrong"\n  (rule "a" (wieght 2)))')

    nothing = replay(hydramesh, policy, "--state-dir", tmp_path)
    assert nothing.returncode == 1 and "nothing has been recorded yet" in nothing.stderr
    mistake = replay(hydramesh, wrong, "--state-dir", tmp_path)
    assert mistake.returncode == 1 and f"{wrong}:2:13: " in mistake.stderr
    (tmp_path / "hydramesh.sqlite").write_bytes(b"no database" * 1000)
    damaged = replay(hydramesh, policy, "--state-dir", tmp_path)
    assert damaged.returncode == 1 and "hydramesh.sqlite: " in damaged.stderr
    for arguments, said in (
        ([], "name a file"),
        ([policy, "--since", "soon"], "--since soon is not valid"),
        ([policy, policy], "there are two files"),
        ([policy, "--seed", "x"], "--seed x is not valid"),
    ):
        refused = replay(hydramesh, *arguments)
        assert refused.returncode == 2 and said in refused.stderr
