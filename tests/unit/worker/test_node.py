"""A worker as heads and systemd see it."""

import asyncio
import os
import socket

import pytest
import torch

from daiic.model_kinds import MODEL_KINDS
from daiic.service.notify import Notifier
from daiic.wire import daiic_pb2 as pb
from daiic.wire.udp import MeshSocket
from daiic.worker.backend import Backend, Memory
from daiic.worker.cards.telemetry import Telemetry
from daiic.worker.identity import Identity
from daiic.worker.metrics import Statistics
from daiic.worker.node import Node
from daiic.worker.status_line import status_line
from support.models.fake_engine import FakeMemory


class Meter:
    def vram(self):
        return Memory(0, 0)

    def ram(self, held):
        return Memory(1000, 1000 - held)


@pytest.fixture
async def new_node(new_manager):
    sockets = []

    async def make(memory):
        mesh = await MeshSocket.open("127.0.0.1:0", on_events=lambda events: None)
        sockets.append(mesh)
        manager = new_manager(memory)
        backend = Backend(pb.CPU, torch.device("cpu"), "a processor")
        identity = Identity("me", 7, "mine")
        node = Node(
            mesh,
            identity,
            backend,
            Meter(),
            Telemetry(backend),
            manager,
            head_names=("127.0.0.1:9",),
            slots=4,
            tags=("berlin",),
            statistics=Statistics(),
        )
        return node, manager

    yield make
    for mesh in sockets:
        await mesh.close(0)


async def test_heartbeat_and_status_tell_of_models_and_tasks(new_node):
    memory = FakeMemory(100, {"good": 10, "bad": 10})
    node, manager = await new_node(memory)
    (await manager.lease("good")).release()
    memory.failures = [ValueError("odd weights")]
    with pytest.raises(Exception, match="odd weights"):
        await manager.lease("bad")
    node.serve()
    beat = node.heartbeat()
    assert (beat.worker_id, beat.incarnation, beat.name) == ("me", 7, "mine")
    assert (beat.state, beat.backend, beat.device) == (pb.READY, pb.CPU, "a processor")
    assert (beat.slots, beat.running, beat.ram.free, beat.can_download) == (4, 0, 990, False)
    models = {model.name: model for model in beat.models}
    assert models["good"].state == pb.LOADED and models["good"].bytes == 10
    assert models["bad"].state == pb.FAILED and "odd weights" in models["bad"].detail
    line = status_line(node, manager.statuses())
    assert line.startswith("serving good: 0 running, 0 tokens/s")
    assert "no answer from head 127.0.0.1:9" in line and "odd weights" in line


async def test_watchdog_is_not_fed_while_an_engine_is_wedged(new_node, tmp_path, monkeypatch):
    node, manager = await new_node(FakeMemory(100, {"a": 10}))
    engine = (await manager.lease("a")).engine
    inbox = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    inbox.bind(str(tmp_path / "notify"))
    messages = []
    asyncio.get_running_loop().add_reader(inbox, lambda: messages.append(inbox.recv(100)))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "30000")
    notifier = Notifier(os.environ)
    feeding = asyncio.create_task(notifier.feed_watchdog(lambda: not node.wedged()))

    async def heard():
        await asyncio.sleep(0.05)
        messages.clear()
        await asyncio.sleep(0.2)
        return set(messages)

    assert await heard() == {b"WATCHDOG=1"}
    engine.stalled_for = MODEL_KINDS[engine.model_kind].stall_limit + 1
    assert await heard() == set()
    engine.stalled_for = 0.0
    assert await heard() == {b"WATCHDOG=1"}
    feeding.cancel()
    asyncio.get_running_loop().remove_reader(inbox)
    inbox.close()
