"""Clients outside the cluster get their tasks done through the shim."""

import asyncio
import json
import re

import pytest
from google.protobuf.json_format import MessageToJson

from daiic.client import ClusterClient
from daiic.client.prompt_prefix import prompt_prefix
from daiic.prompt_blocks import HASH
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address
from integration.shim.tasks import large, words
from support.links.lossy_relay import ROUGH, LossyRelay
from support.peers.plain_client import ACK, CANCEL, ERROR, PING, PONG, RESULT, TASK, PlainClient
from support.peers.worker_stub import words_every


async def test_client_that_knows_only_base_types_is_served_in_json(shim) -> None:
    with PlainClient(shim.host_port) as client:
        task = json.dumps({"model": "large", "text": {"maxTokens": 40}}).encode()
        sequence = client.send(TASK, task)
        first = (await client.answer()).json()
        client.send(TASK, task, sequence)  # as it would to hear the rest: it earns the shim's trust
        last = (await client.answer()).json()
    assert first["id"] == last["id"] == str(sequence)
    assert first["text"] == "x" * 40
    assert last["final"] is True


async def test_client_that_knows_only_base_types_is_served_in_protobuf(shim) -> None:
    with PlainClient(shim.host_port, acknowledges=True) as client:
        sequence = client.send_task(words("one two three"))
        parts = [(await client.answer()).result() for _ in range(4)]
        client.send_task(words("four", task_id=77))
        assert (await client.answer()).result().id == 77
    assert [part.id for part in parts] == [sequence] * 4
    assert [part.index for part in parts] == [0, 1, 2, 3]
    assert "".join(part.text for part in parts) == "one two three "


async def test_task_is_acknowledged_and_ping_answered(shim) -> None:
    with PlainClient(shim.host_port) as client:
        sequence = client.send(PING)
        pong = await client.datagram()
        assert (pong.kind, pong.sequence, pong.payload) == (PONG, sequence, b"")
        sequence = client.send_task(words("hello"))
        kinds = {}
        while ACK not in kinds:
            received = await client.datagram()
            kinds[received.kind] = received.sequence
        assert kinds[ACK] == sequence


@pytest.mark.parametrize("language", ["json", "protobuf"])
async def test_the_head_gets_the_hashes_of_a_prompt(shim, head, worker, language) -> None:
    async def read_before() -> float:
        _, text = await head.get("/metrics")
        (value,) = re.findall(r"^daiic_head_read_before_total (\S+)$", text, re.MULTILINE)
        return float(value)

    task = pb.Task(model="echo", text=pb.TextTask(prompt=(f"in {language} " * 100)[:800]))
    task.prefix = prompt_prefix(task)
    assert len(task.prefix) == 3 * HASH
    payload = MessageToJson(task).encode() if language == "json" else task.SerializeToString()
    with PlainClient(shim.host_port, acknowledges=True, answers_pings=True) as client:
        for before in 0, 1, 2:  # of the first, nobody has read anything
            assert await read_before() == before - (before > 0)
            client.send(TASK, payload)
            answer = await client.answer()
            got = answer.json() if language == "json" else {"text": answer.result().text}
            assert got["text"] == task.text.prompt
    assert await read_before() == 2
    assert [task.prefix for task in worker.tasks] == [b""] * 3


async def test_many_clients_with_the_same_numbers_get_their_own_answers(shim) -> None:
    clients = [PlainClient(shim.host_port, acknowledges=True) for _ in range(400)]
    try:
        for number, client in enumerate(clients):
            client.send_task(words(f"client {number}", task_id=5), sequence=9)
        answers = [client.whole_text() for client in clients]
        for number, text in enumerate(await asyncio.gather(*answers)):
            assert text == f"client {number} "
    finally:
        for client in clients:
            client.socket.close()


async def test_repeated_task_runs_once(shim, worker, eventually) -> None:
    with PlainClient(shim.host_port, acknowledges=True) as client:
        for sequence in (3, 3, 4, 3, 5):
            client.send_task(words("just once", task_id=12), sequence=sequence)
        assert await client.whole_text() == "just once "
        client.send_task(words("just once", task_id=12), sequence=6)
        client.send_task(words("another", task_id=13))
        assert await client.whole_text() == "another "
    assert [task.text.prompt for task in worker.tasks] == ["just once", "another"]
    assert await shim.metric("daiic_shim_tasks_repeated_total") == 3


async def test_cancel_reaches_the_worker(shim, worker, eventually) -> None:
    worker.scripts["words"] = words_every(0.05)
    with PlainClient(shim.host_port, acknowledges=True) as client:
        client.send_task(words("a b c d e f g h i j k l m n o p", task_id=4))
        await client.answer()
        client.send(CANCEL, pb.Cancel(id=4).SerializeToString())
        await eventually(lambda: len(worker.cancelled) == 1)
    assert await shim.metric("daiic_shim_tasks_in_flight") == 0


async def test_client_that_vanishes_has_its_task_cancelled(shim, worker, eventually) -> None:
    worker.scripts["words"] = words_every(0.05)
    with PlainClient(shim.host_port, acknowledges=True) as client:
        client.send_task(words(" ".join(map(str, range(1000)))))
        await client.answer()
    await eventually(lambda: len(worker.cancelled) == 1, seconds=15)


@pytest.mark.only_daiic_head("no head sees what a client acknowledges to the shim")
async def test_client_that_never_acknowledges_is_served_again_and_again(shim, worker) -> None:
    worker.scripts["words"] = words_every(3.0)
    with PlainClient(shim.host_port) as client:
        client.send_task(words("x" * 20, task_id=1))
        slow = client.send_task(words("a b c d", task_id=2))
        first = await client.answer()
        assert first.result().id in (1, 2)
        # Nothing was acknowledged for longer than 8 s; the slow task runs on all the same.
        texts = {0: ""}
        async with asyncio.timeout(25):
            while not any(index == 3 for index in texts):
                received = await client.answer(25)
                if received.kind == RESULT and received.result().id == 2:
                    texts[received.result().index] = received.result().text
                client.send_task(words("a b c d", task_id=2), sequence=slow)
    assert [task.text.prompt for task in worker.tasks].count("a b c d") == 1


async def test_unreadable_tasks_are_answered_in_their_language(shim) -> None:
    with PlainClient(shim.host_port, answers_pings=True) as client:
        sequence = client.send(TASK, b'{"model": ' + b" " * 100)
        refused = (await client.answer()).json()
        assert refused["id"] == str(sequence)
        assert refused["final"] is True
        assert refused["error"]["code"] == "BAD_REQUEST"
        assert "JSON" in refused["error"]["message"]
        client.send(TASK, b"\xff" * 100, sequence=8)
        error = (await client.answer()).error()
        assert (error.id, error.code) == (8, pb.BAD_REQUEST)
        assert error.message and error.remedy
        client.send_task(pb.Task(id=9, text=pb.TextTask(prompt="which model?")))
        error = (await client.answer()).error()
        assert (error.id, error.code) == (9, pb.BAD_REQUEST)
        assert "model" in error.message  # the head's own


async def test_streams_cross_a_lossy_reordering_link_whole(shim) -> None:
    async with (
        await LossyRelay.start(shim.host_port, ROUGH, seed=4) as relay,
        ClusterClient([format_address(relay.address)]) as client,
    ):
        prompts = [" ".join(f"w{i}-{j}" for j in range(20)) for i in range(40)]
        answers = await asyncio.gather(*(client.answer(words(prompt)) for prompt in prompts))
        assert [answer.text for answer in answers] == [f"{prompt} " for prompt in prompts]
        assert relay.tally.lost > 0


async def test_large_tasks_and_answers_cross_a_lossy_link_whole(shim, worker) -> None:
    async with (
        await LossyRelay.start(shim.host_port, ROUGH, seed=5) as relay,
        ClusterClient([format_address(relay.address)]) as client,
    ):
        prompt = "y" * 1_000_000
        assert (await client.answer(words(prompt))).text == f"{prompt} "
        assert len((await client.answer(large(3_000_000))).text) == 3_000_000
    assert worker.tasks[0].text.prompt == prompt


async def test_status_of_the_cluster_is_seen_through_the_shim(shim) -> None:
    async with ClusterClient([shim.address]) as client:
        assert [w.heartbeat.worker_id for w in (await client.status()).workers] == ["stub"]
    with PlainClient(shim.host_port, answers_pings=True) as client:
        client.send(TASK, b'{"id": 3, "status": {}}')
        assert (await client.answer()).json()["status"]["workers"]


async def test_garbage_does_not_disturb_others(shim) -> None:
    import random

    source = random.Random(8)
    with (
        PlainClient(shim.host_port) as hostile,
        PlainClient(shim.host_port, acknowledges=True) as client,
    ):
        good = bytes.fromhex("02000000010006651728988000000000") + b"\x04abcd"
        for _ in range(3000):
            data = bytearray(good if source.random() < 0.5 else source.randbytes(40))
            for _ in range(source.randint(0, 4)):
                data[source.randrange(len(data))] = source.randrange(256)
            hostile.socket.send(bytes(data[: source.randint(0, len(data))]))
        client.send_task(words("still here"))
        assert await client.whole_text() == "still here "
    assert await shim.metric('daiic_shim_dropped_malformed_total{side="client"}') > 100


async def test_error_type_is_not_used_towards_json_clients(launch) -> None:
    shim = await launch(heads="127.0.0.1:9")
    with PlainClient(shim.host_port) as client, PlainClient(shim.host_port) as binary:
        client.send(TASK, b'{"id": "18446744073709551615", "status": {}}' + b" " * 100)
        binary.send_task(pb.Task(id=6, model="m" * 100, status=pb.StatusTask()))
        refused = (await client.answer(12)).json()
        assert refused["id"] == "18446744073709551615"
        assert refused["error"]["code"] == "HEAD_UNREACHABLE"
        received = await binary.answer(12)
        assert received.kind == ERROR
        assert received.error().code == pb.HEAD_UNREACHABLE
