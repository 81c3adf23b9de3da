"""A head without a key makes a poor weapon against those in whose name it is asked."""

import asyncio
import contextlib

from support.peers.plain_client import PING, RESULT, TASK, PlainClient
from support.peers.worker_stub import WorkerStub
from support.processes.head_process import HeadProcess

QUESTIONS = (b'{"status":{}}', b'{"model":"x","text":{}}', b"{", b"\xff")


async def test_stranger_gets_three_times_what_he_sent_until_he_answers_a_ping():
    async with HeadProcess() as head:
        stub = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        host, port = head.address.split(":")
        with contextlib.ExitStack() as opened:
            clients = [opened.enter_context(PlainClient((host, int(port)))) for _ in QUESTIONS]
            for client, question in zip(clients, QUESTIONS, strict=True):
                client.send(TASK, question)
                while (await client.datagram()).kind != PING:
                    pass
            await asyncio.sleep(1.0)  # time in which more would come
            for client in clients:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        client.bytes_received += len(client.socket.recv(65536))
                assert client.bytes_received <= 3 * client.bytes_sent
            clients[0].answers_pings = True
            clients[0].send(TASK, QUESTIONS[0])  # another sequence, so another task
            answer = await clients[0].answer()
            assert answer.kind == RESULT and "workers" in answer.json()["status"]
        await stub.close()
