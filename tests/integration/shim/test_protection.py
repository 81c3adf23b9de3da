"""The shim protects the cluster from its clients, and strangers from the shim."""

import asyncio
import contextlib

import pytest

from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from integration.shim.tasks import large, words
from support.peers.plain_client import PING, PONG, RESULT, PlainClient
from support.peers.worker_stub import words_every
from support.processes.head_process import HeadProcess


async def drain(client: PlainClient, seconds: float) -> list[int]:
    """Read for so long; return the kinds of what came."""
    kinds = []
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                kinds.append((await client.datagram(seconds)).kind)
    return kinds


async def test_unproven_address_gets_at_most_three_times_what_it_sent(shim) -> None:
    with PlainClient(shim.host_port) as client:
        client.send_task(large(20_000))
        await drain(client, 3.0)
        assert 0 < client.bytes_received <= 3 * client.bytes_sent
    assert await shim.metric('daiic_shim_held_unvalidated_total{side="client"}') >= 1


async def test_held_answer_goes_once_the_address_has_proved_itself(shim) -> None:
    with (
        PlainClient(shim.host_port) as silent,
        PlainClient(shim.host_port, acknowledges=True) as client,
    ):
        for one in (silent, client):
            one.send_task(words(" ".join(f"word{i}" for i in range(40))))
        pings = [await client.datagram() for _ in range(2)]
        await asyncio.sleep(0.5)
        (ping,) = [p for p in pings if p.kind == PING]
        client.send(PONG, sequence=ping.sequence ^ 1)  # a guess proves nothing
        client.send(PONG, sequence=ping.sequence)
        assert (await client.whole_text()).startswith("word0 word1 ")
        await drain(silent, 1.0)
        assert silent.bytes_received <= 3 * silent.bytes_sent


async def test_rate_of_one_client_is_limited_with_a_clear_error(launch, head, worker) -> None:
    shim = await launch(heads=head.address, client_rate=1, client_burst=3)
    await shim.until_ready()
    with PlainClient(shim.host_port, acknowledges=True) as client:
        for number in range(5):
            client.send_task(words("x" * 60, task_id=100 + number))
        answers = [await client.answer() for _ in range(8)]
        refused = [a.error() for a in answers if a.kind != RESULT]
        assert [error.code for error in refused] == [pb.QUEUE_FULL] * 2
        assert "1 tasks a second" in refused[0].message and refused[0].remedy
        with PlainClient(shim.host_port, acknowledges=True) as another:
            another.send_task(words("not limited"))
            assert await another.whole_text() == "not limited "
        await asyncio.sleep(1.1)
        client.send_task(words("again", task_id=200))
        assert await client.whole_text() == "again "


async def test_tasks_in_flight_are_bounded(launch, head, worker) -> None:
    worker.scripts["words"] = words_every(0.2)
    shim = await launch(heads=head.address, client_tasks=2, max_tasks=3)
    await shim.until_ready()
    with (
        PlainClient(shim.host_port, acknowledges=True) as first,
        PlainClient(shim.host_port, acknowledges=True) as second,
    ):
        for number in range(3):
            first.send_task(words("a b c d", task_id=number + 1))
        assert (error := (await first.answer()).error()).code == pb.QUEUE_FULL
        assert "2 tasks of this client" in error.message
        for number in range(2):
            second.send_task(words("a b c d", task_id=number + 1))
        codes = [
            received.error().code for received in [await second.answer()] if received.kind != RESULT
        ]
        assert codes == [pb.QUEUE_FULL]


async def test_networks_that_are_not_allowed_hear_nothing(launch, head, worker) -> None:
    shim = await launch(heads=head.address, allowed_networks=["127.0.0.2/31", "::1/128"])
    await shim.until_ready()
    with (
        PlainClient(shim.host_port, acknowledges=True) as outside,
        PlainClient(shim.host_port, acknowledges=True, host="127.0.0.3") as inside,
    ):
        outside.send(PING)
        outside.send_task(words("let me in"))
        inside.send_task(words("let me in"))
        assert await inside.whole_text() == "let me in "
        assert await drain(outside, 0.5) == []
    assert await shim.metric('daiic_shim_dropped_network_total{side="client"}') == 2


async def test_keys_of_clients_and_cluster_are_required(
    each_head, launch, enter, serve, tmp_path
) -> None:
    cluster, clients = ClusterKey.generate(), ClusterKey.generate()
    cluster.save(tmp_path / "cluster")
    clients.save(tmp_path / "clients")
    head = await enter(HeadProcess(cluster_key_file=tmp_path / "cluster"))
    worker = await serve(head, key=cluster)
    shim = await launch(
        heads=head.address,
        cluster_key_file=tmp_path / "cluster",
        client_key_file=tmp_path / "clients",
    )
    await shim.until_ready()
    async with ClusterClient([shim.address], clients) as client:
        assert (await client.answer(words("sealed twice"))).text == "sealed twice "
        assert len((await client.answer(large(200_000))).text) == 200_000
    with PlainClient(shim.host_port) as plain:
        plain.send_task(words("not sealed"))
        assert await drain(plain, 0.5) == []
    async with ClusterClient([shim.address], cluster) as wrong:
        with pytest.raises(TaskError) as raised:
            await wrong.answer(words("another key"))
        assert raised.value.code == pb.HEAD_UNREACHABLE
    assert len(worker.tasks) == 2


async def test_open_listening_needs_a_decision(binary) -> None:
    async def refused(*flags: str) -> str:
        process = await asyncio.create_subprocess_exec(
            binary, *flags, "--http-listen", "", stderr=asyncio.subprocess.PIPE
        )
        try:
            async with asyncio.timeout(5):
                _, message = await process.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        assert process.returncode
        return message.decode()

    message = await refused("--listen", "0.0.0.0:0")
    assert "client_key_file" in message and "allowed_networks" in message
    message = await refused("--listen", "127.0.0.1:0", "--heads", "192.0.2.1:7717")
    assert "cluster_key_file" in message


async def test_client_with_many_tasks_does_not_keep_others_waiting(launch, head, serve) -> None:
    worker = await serve(head, slots=1)
    worker.scripts["words"] = words_every(0.05)
    shim = await launch(heads=head.address)
    await shim.until_ready()
    with (
        PlainClient(shim.host_port, acknowledges=True, host="127.0.0.2") as greedy,
        PlainClient(shim.host_port, acknowledges=True, host="127.0.0.3") as modest,
    ):
        for number in range(60):
            greedy.send_task(words("much", task_id=number + 1))
        while len(worker.tasks) < 3:
            await greedy.answer()
        modest.send_task(words("little"))
        assert await modest.whole_text() == "little "
    before = [task.text.prompt for task in worker.tasks].index("little")
    assert before < 30, "half of what waits is before it, or more"


async def test_answer_that_nobody_acknowledges_is_bounded(launch, head, worker) -> None:
    shim = await launch(
        heads=head.address, max_message=20_000, client_bytes=20_000, max_bytes=1_000_000
    )
    await shim.until_ready()
    worker.scripts["words"] = words_every(0.01)
    with PlainClient(shim.host_port, answers_pings=True) as client:
        client.send_task(large(12_000))
        client.send_task(large(12_000))
        while (received := await client.answer(10)).kind == RESULT:
            pass
        assert received.error().code == pb.QUEUE_FULL
        assert "acknowledge" in received.error().message


async def test_task_that_is_too_large_is_refused_with_its_id(launch, head, worker) -> None:
    shim = await launch(heads=head.address, max_message=50_000)
    await shim.until_ready()
    async with ClusterClient([shim.address]) as client:
        with pytest.raises(TaskError) as raised:
            await client.answer(words("y" * 100_000))
        assert raised.value.code == pb.BAD_REQUEST
        assert "max_message" in raised.value.message
        assert (await client.answer(words("z" * 10_000))).text == "z" * 10_000 + " "
