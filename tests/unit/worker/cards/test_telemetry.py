"""Readings come from beside the event loop; old ones are not told."""

import asyncio
import threading

import torch

from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend, Card
from daiic.worker.cards import telemetry
from daiic.worker.cards.telemetry import Telemetry

CARD = Card(0, "A GPU", "0000:03:00.0")
GPU = Backend(pb.CUDA, torch.device("cuda", 0), "A GPU", (CARD,))


async def test_what_a_driver_tells_is_told_until_it_is_old() -> None:
    now = 100.0
    follower = Telemetry(GPU, lambda address: pb.Card(temperature=50), lambda: now)
    assert follower.cards() == [pb.Card(name="A GPU")]
    following = asyncio.create_task(follower.follow())
    while not follower.cards()[0].HasField("temperature"):
        await asyncio.sleep(0.01)
    assert follower.cards() == [pb.Card(name="A GPU", temperature=50)]
    now += telemetry.OLD + 1
    assert follower.cards() == [pb.Card(name="A GPU")]
    following.cancel()


async def test_each_card_has_readings_of_its_own() -> None:
    other = Card(1, "Another GPU", "0000:04:00.0")
    both = Backend(pb.CUDA, torch.device("cuda", 0), "both", (CARD, other, Card(2, "Nowhere")))

    def read(address: str) -> pb.Card | None:
        return pb.Card(temperature=70) if address == other.pci_address else None

    follower = Telemetry(both, read, lambda: 100.0)
    following = asyncio.create_task(follower.follow())
    while not follower.cards()[1].HasField("temperature"):
        await asyncio.sleep(0.01)
    assert follower.cards() == [
        pb.Card(name="A GPU"),
        pb.Card(name="Another GPU", temperature=70),
        pb.Card(name="Nowhere"),
    ]
    following.cancel()


async def test_a_driver_that_hangs_holds_one_thread_and_never_the_loop() -> None:
    hangs, asked = threading.Event(), []

    def read(address: str) -> pb.Card:
        asked.append(address)
        hangs.wait()
        return pb.Card()

    follower = Telemetry(GPU, read)
    following = asyncio.create_task(follower.follow())
    while not asked:
        await asyncio.sleep(0.01)
    assert follower.cards() == [pb.Card(name="A GPU")]
    assert asked == ["0000:03:00.0"]
    following.cancel()
    hangs.set()


async def test_a_processor_is_no_card() -> None:
    follower = Telemetry(Backend(pb.CPU, torch.device("cpu"), "A processor"))
    await follower.follow()
    assert follower.cards() == []
