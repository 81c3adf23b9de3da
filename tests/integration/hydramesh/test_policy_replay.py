"""Recorded traffic goes through a policy in simulation, beside what really happened."""

import asyncio
import signal
import time
from pathlib import Path

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess
from support.processes.replays import found, replay

TASKS = 200
ALL_ALIKE = '(policy "all alike" (rule "all" (weight 1)))'
WITHOUT_ONE = '(policy "without one" (rule "not one" (exclude (= worker.name "one"))))'


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

    told = found(hydramesh, candidate, "--state-dir", state)
    recorded, simulated, changed = (told[key] for key in ("recorded", "simulated", "candidate"))
    assert told["policy"] == "without one" and told["in_force"] is None
    assert recorded["tasks"] == recorded["answered"] == TASKS
    assert set(recorded["workers"]) == {"one", "two"}
    # What the head did then, it does again.
    assert simulated["answered"] == TASKS and not simulated["failed"]
    assert all(abs(told["error"][share]) < 0.25 for share in ("p50", "p90", "p99"))
    assert all(abs(told["usual_error"][share]) < 0.35 for share in ("p50", "p90"))
    for name in ("one", "two"):
        tasks = recorded["workers"][name]["tasks"]
        assert abs(simulated["workers"][name]["tasks"] - tasks) < 0.25 * TASKS
    # Without a worker the other one has all of the tasks, and they wait.
    assert changed["answered"] == TASKS and set(changed["workers"]) == {"two"}
    assert changed["total"]["p90"] > simulated["total"]["p90"]

    assert found(hydramesh, candidate, "--state-dir", state) == told
    shown = replay(hydramesh, alike, "--in-force", alike, "--state-dir", state, "--since", "30min")
    assert shown.returncode == 0, shown.stderr
    assert f"{TASKS} tasks replayed" in shown.stdout
    assert 'with the policy "all alike" in force' in shown.stdout
    rows = [line.split() for line in shown.stdout.splitlines()]
    (answered,) = (row[1:] for row in rows if row[:1] == ["answered"])
    assert answered == [str(TASKS)] * 3


async def test_a_head_serves_and_records_while_its_tasks_are_replayed(
    hydramesh: heads.Head, storage: str, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    policy = tmp_path / "a.policy"
    policy.write_text(ALL_ALIKE)
    arguments = (policy, "--state-dir", state, "--storage", storage)
    settings = {"state_dir": state, "storage": storage, "drain_timeout": 1}
    async with (
        HeadProcess(kind=hydramesh, **settings) as head,
        ClusterClient([head.address]) as client,
    ):
        stub = await WorkerStub.open([head.address], worker_id="one", slots=64, interval=0.5)
        await head.wait_for_workers(1)
        await asyncio.sleep(3)  # the recorder looks at the workers once a second
        answered, longest = 0, 0.0

        async def ask() -> None:
            nonlocal answered, longest
            began = time.monotonic()
            await client.answer(pb.Task(model="echo", text=pb.TextTask(prompt="x")))
            answered += 1
            longest = max(longest, time.monotonic() - began)

        for _ in range(40):
            await asyncio.gather(*(ask() for _ in range(50)))
        async with asyncio.timeout(PATIENCE):  # /metrics has all written first
            while await head.metric("hydramesh_recorded_total") < answered:
                await asyncio.sleep(0.1)
        before, longest = answered, 0.0
        over = asyncio.Event()

        async def serve() -> None:
            while not over.is_set():
                await ask()

        serving = [asyncio.create_task(serve()) for _ in range(4)]
        seen, written = [], []
        for _ in range(4):
            both = [asyncio.to_thread(found, hydramesh, *arguments) for _ in range(2)]
            seen.append([told["recorded"]["answered"] for told in await asyncio.gather(*both)])
            written.append(await head.metric("hydramesh_recorded_total"))
        over.set()
        await asyncio.gather(*serving)
        # All were answered, none was waited for, and the recorder went on meanwhile.
        assert answered > before and longest < PATIENCE / 10
        assert written == sorted(written) and before <= written[0] < written[-1]
        assert min(seen[0]) >= before and max(seen[-1]) > before
        async with asyncio.timeout(PATIENCE):
            while await head.metric("hydramesh_recorded_total") < answered:
                await asyncio.sleep(0.1)
        assert await head.metric("hydramesh_unrecorded_total") == 0
        assert await head.metric("hydramesh_recording") == 1
        await stub.close()
        head.signal(signal.SIGTERM)
        assert await head.ended() == 0
    assert found(hydramesh, *arguments)["recorded"]["answered"] == answered


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
