"""A late task is raced on a second worker: one stream, the same text, no attempt used up."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.racing import TOKENS, WHOLE, stalling_after, streamed, with_a_record
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess


@pytest.fixture
async def head(hydramesh: heads.Head) -> AsyncIterator[HeadProcess]:
    async with HeadProcess(
        kind=hydramesh, storage="none", hedge_share=1, max_attempts=1, set_aside_after=0
    ) as head:
        yield head


@pytest.mark.parametrize("parts", [0, 3])
async def test_a_stream_that_stalls_is_gone_on_with_by_another_worker(
    head: HeadProcess, parts: int
) -> None:
    async with ClusterClient([head.address]) as client:
        first, second = await with_a_record(head, client)
        before = await client.status()
        first.scripts["count"] = stalling_after(parts)
        async with asyncio.timeout(PATIENCE):
            while True:
                text, workers = await streamed(client)
                assert text == WHOLE
                if workers[:parts] == ["first"] * parts and first.cancelled:
                    break
        assert workers[parts:] == ["second"] * (TOKENS + 1 - parts)
        after = await client.status()
        assert after.tasks_hedged > before.tasks_hedged
        assert (after.tasks_failed, after.tasks_moved, after.in_flight) == (0, 0, 0)
        _, metrics = await head.get("/metrics")
        assert f"daiic_head_hedged_total {after.tasks_hedged}" in metrics
        assert "daiic_head_hedges_won_total 0" not in metrics
        for worker in first, second:
            await worker.close(polite=False)


async def test_both_workers_are_told_when_the_client_leaves(head: HeadProcess) -> None:
    async with ClusterClient([head.address]) as client:
        workers = await with_a_record(head, client)
        for worker in workers:
            worker.scripts["count"] = stalling_after(0)
            worker.cancelled.clear()
            worker.tasks.clear()
        running = asyncio.create_task(streamed(client))
        async with asyncio.timeout(PATIENCE):
            while not all(worker.tasks for worker in workers):
                await asyncio.sleep(0.02)
        assert (await client.status()).in_flight == 1
        running.cancel()
        async with asyncio.timeout(PATIENCE):
            while not all(worker.cancelled for worker in workers):
                await asyncio.sleep(0.02)
        for worker in workers:
            await worker.close(polite=False)


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    return tmp_path / "a.policy"


def hedging(how: str) -> str:
    """Return a policy that says so of all tasks; it is called as what it says."""
    return f'(policy "{how}" (rule "late ones" (hedge {how})))'


async def put(head: HeadProcess, client: ClusterClient, policy: Path, text: str) -> pb.PolicyStatus:
    """Have the head read a policy with that text; return what it says of the one in force then."""
    before = (await client.status()).policy
    policy.write_text(text)
    head.signal(signal.SIGHUP)
    async with asyncio.timeout(PATIENCE):
        while (now := (await client.status()).policy) == before:
            await asyncio.sleep(0.02)
    return now


async def hedges_late_ones(client: ClusterClient, first: WorkerStub) -> bool:
    """Return whether tasks were hedged that went to the first worker, which stalls."""
    before, asked = (await client.status()).tasks_hedged, len(first.tasks)
    async with asyncio.timeout(PATIENCE):
        while len(first.tasks) == asked:
            answers = await asyncio.gather(*(streamed(client) for _ in range(8)))
            assert {text for text, _ in answers} == {WHOLE}
    return (await client.status()).tasks_hedged - before >= len(first.tasks) - asked


async def test_a_policy_that_hedges_holds_from_sighup_on_and_a_wrong_one_leaves_it(
    hydramesh: heads.Head, policy: Path
) -> None:
    policy.write_text(hedging("never"))
    async with (
        HeadProcess(
            kind=hydramesh, storage="none", hedge_share=1, set_aside_after=0, policy=policy
        ) as head,
        ClusterClient([head.address]) as client,
        asyncio.TaskGroup() as others,
    ):
        first, second = await with_a_record(head, client)
        before = await client.status()
        first.scripts["count"] = stalling_after(0)
        tasks_before = len(first.tasks)
        late: list[asyncio.Task[tuple[str, list[str]]]] = []
        while len(first.tasks) == tasks_before:
            late.append(others.create_task(streamed(client)))
            await asyncio.sleep(0.05)
        await asyncio.sleep(1)
        assert (await client.status()).tasks_hedged == before.tasks_hedged

        # What runs already is late by the new policy, too; nothing is lost by the change.
        assert (await put(head, client, policy, hedging("(after 200 ms)"))).rules == 1
        assert {(await answer)[0] for answer in late} == {WHOLE}
        assert await hedges_late_ones(client, first)
        refused = await put(head, client, policy, '(policy "x" (rule "y" (hedge (aftr 1 s))))')
        assert (refused.name, bool(refused.refused)) == ("(after 200 ms)", True)
        assert await hedges_late_ones(client, first)

        after = await client.status()
        assert (after.tasks_failed, after.tasks_moved, after.in_flight) == (0, 0, 0)
        await first.close(polite=False)
        await second.close(polite=False)


async def test_a_head_that_may_hedge_nothing_warns_of_a_policy_that_hedges(
    hydramesh: heads.Head, policy: Path
) -> None:
    policy.write_text(hedging("(after 2 s)"))
    async with HeadProcess(kind=hydramesh, storage="none", policy=policy) as head:
        head.said(r"the rule .late ones. hedges nothing while hedge_share is 0")


async def test_a_head_that_is_restarted_ends_both_attempts_and_the_client_has_one_answer(
    hydramesh: heads.Head,
) -> None:
    settings: dict[str, object] = {"kind": hydramesh, "storage": "none", "hedge_share": 1}
    async with HeadProcess(**settings) as head:  # type: ignore[arg-type]
        address = head.address
        async with ClusterClient([address]) as client:
            workers = await with_a_record(head, client)
            for worker in workers:
                worker.scripts["count"] = stalling_after(0)
                worker.cancelled.clear()
            answer = asyncio.create_task(streamed(client))
            async with asyncio.timeout(PATIENCE):
                while (await client.status()).tasks_hedged == 0:
                    await asyncio.sleep(0.02)
            await head.kill()
            for worker in workers:
                worker.scripts["count"] = stalling_after(-1)
            async with HeadProcess(listen=address, **settings):  # type: ignore[arg-type]
                text, _ = await answer
                assert text == WHOLE
            for worker in workers:
                await worker.close(polite=False)
