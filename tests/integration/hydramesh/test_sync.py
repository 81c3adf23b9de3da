"""Heads of this kind tell each other of themselves, and disturb none of another kind."""

import asyncio
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from support.links.machines import Switch, inside, machines
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.head_process import HeadProcess
from support.processes.neighbours import agreed, hears, told, until

PYTHON = heads.find(heads.DAIIC_HEAD)


async def count(client: ClusterClient, tokens: int, started: asyncio.Event) -> list[int]:
    task = pb.Task(model="count", stream=True, text=pb.TextTask(max_tokens=tokens))
    said: list[int] = []
    async for part in client.run(task):
        said.extend(part.tokens)
        started.set()
    return said


async def test_heads_that_workers_name_know_each_other_and_their_load(
    hydramesh: heads.Head,
) -> None:
    async with AsyncExitStack() as stack:
        ours = [
            await stack.enter_async_context(HeadProcess(kind=hydramesh, http_listen=""))
            for _ in range(3)
        ]
        other = await stack.enter_async_context(HeadProcess(kind=PYTHON))
        addresses = [head.address for head in (*ours, other)]
        stub = await WorkerStub.open(addresses, slots=4)
        stack.push_async_callback(stub.close)
        found = await agreed(ours)
        assert {one.address for one in found[0][1:]} == set(addresses[1:3])
        # One that does not know SYNC is asked once in a while, and is not disturbed.
        unknown = await other.metric("daiic_wire_dropped_unknown_type_total")
        assert 0 < unknown < 12
        client = await stack.enter_async_context(ClusterClient([ours[0].address]))
        started = asyncio.Event()
        stream = asyncio.create_task(count(client, 200, started))
        await started.wait()
        [first] = [one.id for one in found[0][:1]]
        await until(
            ours[1],
            lambda heads: any(one.id == first and one.in_flight == 1 for one in heads[1:]),
        )
        assert await stream == list(range(200))
        await until(ours[1], lambda heads: not any(one.in_flight for one in heads))


async def test_a_worker_that_another_head_has_filled_gets_nothing_from_this_one(
    hydramesh: heads.Head,
) -> None:
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(HeadProcess(kind=hydramesh, http_listen=""))
            for _ in range(2)
        ]
        # The stub's own heartbeats never tell that it has anything to do.
        stub = await WorkerStub.open([one.address, two.address], slots=1)
        stack.push_async_callback(stub.close)
        for head in (one, two):
            await until(head, hears(1))
        first = await stack.enter_async_context(ClusterClient([one.address]))
        second = await stack.enter_async_context(ClusterClient([two.address]))
        started = asyncio.Event()
        stream = asyncio.create_task(count(first, 150, started))
        await started.wait()
        await until(two, lambda heads: heads[1].in_flight == 1)
        waiting = asyncio.create_task(count(second, 1, asyncio.Event()))
        await until(two, lambda heads: heads[0].queued == 1)
        assert not stream.done()
        assert await stream == list(range(150))
        assert await asyncio.wait_for(waiting, PATIENCE) == [0]


async def test_heads_that_both_have_many_tasks_share_a_worker(hydramesh: heads.Head) -> None:
    async with AsyncExitStack() as stack:
        ours = [
            await stack.enter_async_context(HeadProcess(kind=hydramesh, http_listen=""))
            for _ in range(2)
        ]
        stub = await WorkerStub.open([head.address for head in ours], slots=1)
        stack.push_async_callback(stub.close)
        await agreed(ours)
        clients = [await stack.enter_async_context(ClusterClient([head.address])) for head in ours]
        done: list[int] = []

        async def run(number: int) -> None:
            task = pb.Task(model="slow", text=pb.TextTask(prompt="x"))
            async for _ in clients[number].run(task):
                pass
            done.append(number)

        waiting = [asyncio.create_task(run(0)) for _ in range(8)]
        await until(ours[1], lambda heads: heads[1].queued > 0)
        waiting += [asyncio.create_task(run(1)) for _ in range(2)]
        await asyncio.gather(*waiting)
        # Those of the second head did not have to wait for all of the first one's.
        assert done[-1] == 0 and sorted(done) == [0] * 8 + [1] * 2


async def test_a_head_that_is_killed_is_missed_and_known_again_when_it_is_back(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    key = ClusterKey.generate()
    key.save(tmp_path / "key")
    sealed = {"kind": hydramesh, "http_listen": "", "cluster_key_file": tmp_path / "key"}
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(HeadProcess(**sealed))
        # The other one is told of this one, and not the reverse: with a key that is enough.
        names = f"no-such-head.invalid:7717,localhost:{one.host_port[1]}"
        sealed |= {"peers": names, "state_dir": tmp_path / "two"}
        two = await stack.enter_async_context(HeadProcess(**sealed))
        await two.says('a head cannot be found.* peer="?no-such-head.invalid:7717')
        before = await until(one, hears(1), key)
        address = two.address
        await two.kill()
        await until(one, hears(0), key)
        again = await stack.enter_async_context(HeadProcess(**sealed, listen=address))
        after = await until(one, hears(1), key)
        assert before[1].id == after[1].id
        # One that is stopped says so, and is not waited for.
        await asyncio.to_thread(again.stop)
        assert len(await told(one, key)) == 1


async def test_peers_can_be_named_while_a_head_runs(hydramesh: heads.Head, tmp_path: Path) -> None:
    key = ClusterKey.generate()
    key.save(tmp_path / "key")
    config = tmp_path / "head.toml"
    config.write_text("peers = []\n")
    sealed = {"kind": hydramesh, "http_listen": "", "cluster_key_file": tmp_path / "key"}
    async with HeadProcess(**sealed) as one, HeadProcess(**sealed, config=config) as two:
        assert len(await told(two, key)) == 1
        config.write_text(f'peers = ["{one.address}"]\n')
        two.signal(signal.SIGHUP)
        for head in (one, two):
            await until(head, hears(1), key)


async def test_without_the_key_a_head_hears_nothing(hydramesh: heads.Head, tmp_path: Path) -> None:
    for name in ("right", "wrong"):
        ClusterKey.generate().save(tmp_path / name)
    async with AsyncExitStack() as stack:

        async def started(key: str, *peers: HeadProcess) -> HeadProcess:
            head = HeadProcess(
                kind=hydramesh,
                cluster_key_file=tmp_path / key,
                peers=",".join(peer.address for peer in peers),
            )
            return await stack.enter_async_context(head)

        one = await started("right")
        stranger = await started("wrong", one)
        two = await started("right", one, stranger)
        key, other = ClusterKey.load(tmp_path / "right"), ClusterKey.load(tmp_path / "wrong")
        for head in (one, two):
            assert len(await until(head, hears(1), key)) == 2
        for head in (one, stranger):
            assert await head.metric("daiic_wire_dropped_forged_total") > 0
        assert len(await told(stranger, other)) == 1


async def test_heads_agree_after_a_partition_of_the_network(
    hydramesh: heads.Head, tmp_path: Path
) -> None:
    key = ClusterKey.generate()
    key.save(tmp_path / "key")
    with machines("middle", "one", "two", "three") as (middle, *hosts):
        switch = Switch(middle)
        addresses = [switch.connect(host) for host in hosts]
        async with AsyncExitStack() as stack:
            ours = []
            for host, address in zip(hosts, addresses, strict=True):
                with inside(host):
                    head = HeadProcess(
                        kind=hydramesh,
                        listen=f"{address}:7717",
                        http_listen="",
                        cluster_key_file=tmp_path / "key",
                        peers=",".join(f"{other}:7717" for other in addresses),
                    )
                    ours.append(await stack.enter_async_context(head))

            async def all_hear(counts: list[int]) -> None:
                for host, head, number in zip(hosts, ours, counts, strict=True):
                    with inside(host):
                        await until(head, hears(number), key)

            await all_hear([2, 2, 2])
            switch.pull(hosts[0])
            await all_hear([0, 1, 1])
            switch.plug(hosts[0])
            await all_hear([2, 2, 2])


async def test_without_a_key_heads_of_other_machines_are_left_out_and_that_is_said(
    hydramesh: heads.Head,
) -> None:
    async with HeadProcess(kind=hydramesh, http_listen="", peers="192.0.2.1:7717") as head:
        await head.says("a peer on another machine is left out: set cluster_key_file.*192.0.2.1:77")
        assert len(await told(head)) == 1
