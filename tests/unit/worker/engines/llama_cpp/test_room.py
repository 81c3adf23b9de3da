"""Tasks share a cache: none begins that could not end, none overtakes, all room comes back."""

import asyncio
import contextlib
import random
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp import leftovers
from daiic.worker.engines.llama_cpp.leftovers import Leftovers
from daiic.worker.engines.llama_cpp.room import Place, Room, SharedCache


def entered(room: Room, tokens: int, order: list[int]) -> Place:
    return room.enter(tokens, lambda: order.append(tokens))


def test_tasks_that_fit_begin_at_once_and_others_in_their_order() -> None:
    room, order = Room(100), []
    first, second = entered(room, 60, order), entered(room, 30, order)
    entered(room, 50, order)
    entered(room, 5, order)  # it would fit, but would overtake
    assert order == [60, 30] and room.waiting == 2 and room.free == 10
    room.leave(second)
    assert order == [60, 30]
    room.leave(first)
    assert order == [60, 30, 50, 5] and room.waiting == 0 and room.free == 45


def test_who_stops_waiting_lets_those_behind_pass() -> None:
    room, order = Room(100), []
    entered(room, 60, order)
    large = entered(room, 90, order)
    entered(room, 40, order)
    room.leave(large)
    assert order == [60, 40] and room.free == 0


def test_a_task_that_never_fits_is_refused() -> None:
    with pytest.raises(ValueError, match="never fit"):
        Room(100).enter(101, lambda: None)


@given(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=60))
def test_room_is_never_given_twice_and_never_lost(steps: list[tuple[int, bool]]) -> None:
    room, places, order = Room(40), [], []
    for tokens, leaves in steps:
        if leaves and places:
            room.leave(places.pop(tokens % len(places)))
        else:
            places.append(entered(room, tokens, order))
        held = sum(place.tokens for place in places if place.admitted)
        assert held + room.free == 40 and room.free >= 0
        waiting = [place for place in places if not place.admitted]
        assert not waiting or waiting[0].tokens > room.free
    for place in places:
        room.leave(place)
    assert room.free == 40


class Slots:
    """A server with as many busy slots as it is told, or none to tell of."""

    alive = True

    def __init__(self, busy: int | None) -> None:
        self.busy = busy
        self.begun = 0
        self.lingering: set[asyncio.Task[None]] = set()
        self.given_up = 0

    async def get(self, path: str) -> Mapping[str, Any]:
        if self.busy is None:
            raise TaskError(pb.INTERNAL, "no such path", "")
        return {"items": [{"is_processing": number < self.busy} for number in range(4)]}


async def begins(cache: SharedCache, tokens: int) -> asyncio.Task[None]:
    """Return a task that has so many tokens for ever, once it has got them."""
    has = asyncio.Event()

    async def hold() -> None:
        async with cache.held(tokens):
            has.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(hold())
    await has.wait()
    return task


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_an_answer_given_up_keeps_its_room_until_it_is_computed_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leftovers, "POLL", 0.001)
    server = Slots(busy=1)
    cache = SharedCache(100, Leftovers(server))
    first = await begins(cache, 60)
    server.given_up += 1
    await ended(first)
    second = asyncio.create_task(begins(cache, 60))
    await asyncio.sleep(0.05)
    assert not second.done()
    server.busy = 0
    await ended(await second)


async def test_one_that_has_not_been_closed_yet_keeps_its_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leftovers, "POLL", 0.001)
    server = Slots(busy=0)
    cache = SharedCache(100, Leftovers(server))
    first = await begins(cache, 60)
    closed = asyncio.Event()

    async def linger() -> None:
        await closed.wait()
        server.given_up = 1

    server.lingering.add(asyncio.create_task(linger()))
    await ended(first)
    second = asyncio.create_task(begins(cache, 60))
    await asyncio.sleep(0.05)
    assert not second.done()
    closed.set()
    await ended(await second)


async def test_those_that_are_answered_are_not_taken_for_leftovers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leftovers, "POLL", 0.001)
    server = Slots(busy=1)
    server.begun = server.given_up = 1
    await Leftovers(server).gone()


async def test_a_server_that_does_not_tell_its_slots_blocks_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leftovers, "POLL", 0.001)
    monkeypatch.setattr(leftovers, "GRACE", 0.001)
    server = Slots(busy=None)
    server.given_up = 1
    left = Leftovers(server)
    await left.gone()
    assert not left.any


async def test_room_comes_back_while_later_answers_are_given_up_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leftovers, "POLL", 0.001)

    class Storm(Slots):
        """A server of which another answer is given up at every look."""

        async def get(self, path: str) -> Mapping[str, Any]:
            self.given_up += 1
            return await super().get(path)

    server = Storm(busy=0)
    server.given_up = 1
    async with asyncio.timeout(60):
        await Leftovers(server).gone()


async def test_all_room_is_back_after_a_thousand_tasks_that_were_cancelled_at_any_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leftovers, "POLL", 0.0)
    chance = random.Random(1)
    server = Slots(busy=0)
    cache = SharedCache(100, Leftovers(server))

    async def hold(tokens: int) -> None:
        async with cache.held(tokens):
            try:
                await asyncio.sleep(chance.random() / 100)
            except asyncio.CancelledError:
                server.given_up += 1
                raise

    tasks = [asyncio.create_task(hold(chance.randint(1, 100))) for _ in range(1000)]
    while left := [task for task in tasks if not task.done()]:
        for task in chance.sample(left, min(len(left), 20)):
            task.cancel()
        await asyncio.sleep(0)
    async with asyncio.timeout(60), cache.held(100):
        pass
