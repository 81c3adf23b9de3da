"""Heartbeats to every head, and what their answers tell."""

import asyncio
import contextlib
import socket
import threading

import pytest
import uvloop
from structlog.testing import capture_logs

from daiic.head.limits import HeadLimits
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address
from daiic.wire.events import Delivered, Message, Unreachable
from daiic.wire.messages import MessageType
from daiic.wire.udp import MeshSocket
from daiic.worker import heads as heading
from daiic.worker.heads import Heads


class Reporter:
    """A worker's socket and its `Heads`."""

    def __init__(self):
        self.beat = pb.Heartbeat(worker_id="me", state=pb.STARTING)
        self.lost = []
        self.delivered = []

    async def open(self, *names):
        self.socket = await MeshSocket.open("127.0.0.1:0", on_events=self._on_events)
        self.heads = Heads(names, self.socket, lambda: self.beat, self.lost.append)

    def _on_events(self, events):
        for event in events:
            if isinstance(event, Delivered):
                self.heads.delivered(event)
                self.delivered.append(event)
            elif isinstance(event, Unreachable):
                self.heads.lost(event.peer)


class Listener:
    """A head's socket, and the heartbeats that it got."""

    async def open(self, listen="127.0.0.1:0"):
        self.beats = []
        self.socket = await MeshSocket.open(listen, on_events=self._on_events)
        self.name = format_address(self.socket.local_address)
        return self

    def _on_events(self, events):
        for event in events:
            if isinstance(event, Message):
                self.beats.append(pb.Heartbeat.FromString(event.payload))


@pytest.fixture
async def reporter(monkeypatch):
    monkeypatch.setattr(heading, "INTERVAL", 0.1)
    monkeypatch.setattr(heading, "SHORTEST_INTERVAL", 0.02)
    running = []
    reporter = Reporter()

    async def begin(*names):
        await reporter.open(*names)
        running.append(asyncio.create_task(reporter.heads.report()))
        return reporter

    yield begin
    for task in running:
        task.cancel()
    await reporter.socket.close(0)


async def until(holds):
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


async def test_every_head_hears_of_the_worker_again_and_again(reporter):
    listeners = [await Listener().open() for _ in range(2)]
    await reporter(*(listener.name for listener in listeners))
    await until(lambda: all(len(listener.beats) >= 3 for listener in listeners))
    for listener in listeners:
        await listener.socket.close(0)


async def test_head_knows_a_state_only_after_a_heartbeat_that_says_so(reporter):
    listener = await Listener().open()
    worker = await reporter(listener.name)
    await until(lambda: worker.heads.knows(pb.STARTING))
    assert not worker.heads.knows(pb.READY)
    worker.beat.state = pb.READY
    worker.heads.beat()
    await until(lambda: worker.heads.knows(pb.READY))
    assert listener.beats[-1].state == pb.READY
    await listener.socket.close(0)


async def test_head_knows_what_its_heartbeat_said_not_what_is_so_now(reporter, monkeypatch):
    monkeypatch.setattr(heading, "INTERVAL", 60.0)
    listener = await Listener().open()
    worker = await reporter(listener.name)
    await until(lambda: worker.heads.knows(pb.STARTING))
    worker.beat.state = pb.READY
    worker.socket.send(listener.socket.local_address, MessageType.HEARTBEAT, b"")
    worker.socket.send(listener.socket.local_address, MessageType.RESULT, b"")
    before = len(worker.delivered)
    await until(lambda: len(worker.delivered) == before + 2)
    assert worker.heads.knows(pb.STARTING)
    worker.heads.beat()
    worker.beat.state = pb.DRAINING
    await until(lambda: worker.heads.knows(pb.READY))
    await listener.socket.close(0)


async def test_the_heads_that_answer_are_told_by_address(reporter):
    listener = await Listener().open()
    worker = await reporter(f"localhost:{listener.socket.local_address[1]}", "127.0.0.1:9")
    assert worker.heads.answering == []
    await until(lambda: worker.heads.answering == [listener.name])
    await listener.socket.close(0)


def test_first_answer_is_enough_to_be_known(monkeypatch):
    monkeypatch.setattr(heading, "INTERVAL", 60.0)

    async def register_often():
        listener = await Listener().open()
        for _ in range(20):
            worker = Reporter()
            await worker.open(listener.name)
            reporting = asyncio.create_task(worker.heads.report())
            await until(lambda worker=worker: worker.heads.knows(pb.STARTING))
            reporting.cancel()
            await worker.socket.close(0)
        await listener.socket.close(0)

    # The daemon's own event loop, whose clock stands still for a turn.
    uvloop.run(register_often())


async def test_heartbeat_of_more_than_heads_keep_names_the_loaded_models(reporter):
    listener = await Listener().open()
    worker = await reporter(listener.name)
    on_disk = [pb.ModelStatus(name=f"{n}" * 20, state=pb.AVAILABLE) for n in range(3000)]
    failed = pb.ModelStatus(name="failed", state=pb.FAILED, detail="why " * 10_000)
    loaded = pb.ModelStatus(name="loaded", state=pb.LOADED)
    worker.beat.models.extend([failed, *on_disk, loaded])
    await until(lambda: any(beat.models for beat in listener.beats))
    told = next(beat for beat in reversed(listener.beats) if beat.models)
    assert told.models[0].name == "loaded"
    assert "failed" in [model.name for model in told.models]
    assert told.ByteSize() <= HeadLimits().heartbeat
    assert len(told.models) <= HeadLimits().models
    await until(lambda: worker.heads.knows(pb.STARTING))
    await listener.socket.close(0)


async def test_heartbeat_of_many_models_registers_too(reporter):
    listener = await Listener().open()
    worker = await reporter(listener.name)
    worker.beat.models.extend(pb.ModelStatus(name=f"model-{n}" * 5) for n in range(200))
    worker.beat.state = pb.READY
    await until(lambda: worker.heads.knows(pb.READY))
    await until(lambda: any(len(beat.models) == 200 for beat in listener.beats))
    await listener.socket.close(0)


async def test_changes_are_told_sooner_but_not_all_at_once(reporter, monkeypatch):
    monkeypatch.setattr(heading, "INTERVAL", 60.0)
    listener = await Listener().open()
    worker = await reporter(listener.name)
    await until(lambda: len(listener.beats) == 1)
    for _ in range(50):
        worker.heads.hurry()
        await asyncio.sleep(0.001)
    await until(lambda: len(listener.beats) >= 2)
    assert len(listener.beats) <= 6
    await listener.socket.close(0)


async def test_silent_head_is_named_once_and_tried_on(reporter):
    listener = await Listener().open()
    name = listener.name
    await listener.socket.close(0)
    with capture_logs() as logs:
        worker = await reporter(name)
        await asyncio.sleep(1)
    assert [entry["head"] for entry in logs if entry["log_level"] == "warning"] == [name]
    assert worker.heads.silent == [name]
    late = await Listener().open(name)
    await until(lambda: worker.heads.knows(pb.STARTING))
    assert worker.heads.silent == []
    await late.socket.close(0)


async def test_a_silent_name_server_holds_up_no_other_head(reporter, monkeypatch):
    asked = []
    answer = threading.Event()
    look_up = socket.getaddrinfo

    def slow(host, *arguments, **options):
        if host == "slow.invalid":
            asked.append(host)
            answer.wait(10)
            host = "127.0.0.1"
        return look_up(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    listener, late = await Listener().open(), await Listener().open()
    name = f"slow.invalid:{late.socket.local_address[1]}"
    with capture_logs() as logs:
        worker = await reporter(name, listener.name)
        await until(lambda: len(listener.beats) >= 6)
    assert asked == ["slow.invalid"]
    assert worker.heads.silent == [name]
    assert [(e["head"], "name server" in e["event"]) for e in logs if e["log_level"] != "info"] == [
        (name, True)
    ]
    answer.set()
    await until(lambda: worker.heads.silent == [])
    assert late.beats
    for head in (listener, late):
        await head.socket.close(0)


async def test_head_that_goes_silent_is_lost(reporter):
    listener = await Listener().open()
    worker = await reporter(listener.name)
    await until(lambda: worker.heads.knows(pb.STARTING))
    address = listener.socket.local_address
    await listener.socket.close(0)
    await until(lambda: worker.lost == [address])
    assert worker.heads.silent == [listener.name]


@pytest.mark.parametrize("name", ["no-such-name.invalid:7717", "[::1]:7717"])
async def test_head_without_a_usable_address_is_named_once(reporter, name):
    listener = await Listener().open()
    with capture_logs() as logs, contextlib.suppress(TimeoutError):
        worker = await reporter(name, listener.name)
        await until(lambda: worker.heads.knows(pb.STARTING))
        await asyncio.sleep(0.5)
    assert [entry["head"] for entry in logs if entry["log_level"] != "info"] == [name]
    await listener.socket.close(0)
