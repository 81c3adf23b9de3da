"""A model on several cards: tasks are spread, and a copy that fails takes only itself away."""

import asyncio
from collections.abc import Collection
from pathlib import Path

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.copies import Copies
from daiic.worker.engines.interface import Engine, EngineDied, EngineOutOfMemory
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.model import Model
from support.models.fake_engine import WORDS, FakeEngine, FakeMemory

MODEL = Model("m", Path("m"), pb.TEXT)


class Card(FakeMemory):
    """The memory of one card, whose engine waits before each word until it is let go."""

    def __init__(self) -> None:
        super().__init__(100, {"m": 10})
        self.go = asyncio.Event()
        self.failing: Exception | None = None
        self.fails_at = 2

    async def before_word(self, engine: FakeEngine, index: int) -> None:
        if self.failing is not None and index >= self.fails_at:
            raise self.failing
        await self.go.wait()

    def engine(self) -> FakeEngine:
        made = FakeEngine(self, MODEL, MemoryBudget(100, 0), 10)
        self.engines.append(made)
        return made


class Machine:
    """Cards, and a model on the first of them."""

    def __init__(self, number: int) -> None:
        self.cards = [Card() for _ in range(number)]
        self.has_room = True
        self.asked = 0
        self.copies = Copies("m", self.cards[0].engine(), 0, set(range(1, number)), self.another)

    async def another(self, cards: Collection[int]) -> tuple[int, Engine] | None:
        self.asked += 1
        card = min(cards)
        return (card, self.cards[card].engine()) if self.has_room else None

    def let_go(self) -> None:
        for card in self.cards:
            card.go.set()

    async def answer(self) -> str:
        task = pb.Task(text=pb.TextTask(prompt="say", seed=1))
        return "".join([part.text async for part in self.copies.run(task)])

    def tasks(self) -> list[int]:
        return [sum(len(engine.tasks) for engine in card.engines) for card in self.cards]


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def begin(machine: Machine, number: int) -> "list[asyncio.Task[str]]":
    begun = []
    for _ in range(number):
        begun.append(asyncio.create_task(machine.answer()))
        await settle()
    return begun


async def test_one_task_after_another_needs_one_copy() -> None:
    machine = Machine(2)
    machine.let_go()
    for _ in range(3):
        assert await machine.answer() == "".join(WORDS)
    assert (machine.asked, machine.tasks(), machine.copies.many) == (0, [3, 0], False)


async def test_tasks_at_once_are_spread_over_the_cards() -> None:
    machine = Machine(3)
    running = await begin(machine, 8)
    # The second and the third begin before the copy is there that each calls for.
    assert machine.tasks() == [3, 3, 2]
    assert machine.copies.footprint == 30
    assert machine.copies.cache_tokens == 3 * FakeEngine.cache_tokens
    assert machine.copies.choice == "for tests; 3 copies, each on its card"
    machine.let_go()
    assert set(await asyncio.gather(*running)) == {"".join(WORDS)}


@pytest.mark.parametrize("failure", [EngineOutOfMemory("full"), EngineDied("gone"), MemoryError()])
async def test_a_copy_that_fails_loses_no_word_of_its_tasks(failure: Exception) -> None:
    machine = Machine(2)
    running = await begin(machine, 4)
    machine.cards[1].failing = failure
    machine.let_go()
    assert await asyncio.gather(*running) == ["".join(WORDS)] * 4
    assert machine.cards[1].engines[0].closed and not machine.cards[0].engines[0].closed
    moved = [task for task in machine.cards[0].engines[0].tasks if task.resume.index]
    assert [0, 1] in [list(task.resume.tokens) for task in moved]
    assert machine.copies.alive
    assert await machine.answer() == "".join(WORDS)
    assert len(machine.cards[1].engines) == 1, "a card on which it failed gets no copy again"


async def test_what_the_last_copy_says_is_for_the_worker_to_hear() -> None:
    machine = Machine(1)
    machine.let_go()
    machine.cards[0].failing = EngineOutOfMemory("full")
    with pytest.raises(EngineOutOfMemory):
        await machine.answer()
    assert not machine.cards[0].engines[0].closed


async def test_an_error_of_a_task_is_no_fault_of_the_copy() -> None:
    machine = Machine(2)
    running = await begin(machine, 2)
    machine.cards[0].failing = ValueError("odd task")
    machine.let_go()
    found = await asyncio.gather(*running, return_exceptions=True)
    assert any(isinstance(one, ValueError) for one in found)
    assert not any(engine.closed for card in machine.cards for engine in card.engines)


async def test_a_copy_that_died_while_idle_gets_no_task() -> None:
    machine = Machine(2)
    running = await begin(machine, 2)
    machine.let_go()
    await asyncio.gather(*running)
    machine.cards[0].engines[0].alive = False
    assert machine.copies.alive
    assert await machine.answer() == "".join(WORDS)
    assert machine.cards[0].engines[0].closed


async def test_where_there_is_no_room_it_is_not_looked_for_with_every_task() -> None:
    machine = Machine(2)
    machine.has_room = False
    running = await begin(machine, 5)
    assert (machine.asked, machine.tasks()) == (1, [5, 0])
    machine.let_go()
    await asyncio.gather(*running)


async def test_a_copy_that_cannot_be_loaded_does_no_harm() -> None:
    machine = Machine(2)

    async def fails(cards: Collection[int]) -> tuple[int, Engine] | None:
        raise EngineOutOfMemory("full")

    machine.copies = Copies("m", machine.cards[0].engine(), 0, {1}, fails)
    running = await begin(machine, 3)
    machine.let_go()
    assert await asyncio.gather(*running) == ["".join(WORDS)] * 3


async def test_a_copy_that_computes_otherwise_is_none() -> None:
    machine = Machine(2)
    odd = machine.cards[1].engine()
    odd.quantization = "8bit"

    async def another(cards: Collection[int]) -> tuple[int, Engine] | None:
        return 1, odd

    machine.copies = Copies("m", machine.cards[0].engine(), 0, {1}, another)
    running = await begin(machine, 3)
    assert odd.closed and not odd.tasks
    machine.let_go()
    await asyncio.gather(*running)


async def test_memory_is_given_back_copy_by_copy_and_tasks_move() -> None:
    machine = Machine(2)
    running = await begin(machine, 4)
    assert await machine.copies.shrink()
    assert machine.copies.footprint == 10
    assert not await machine.copies.shrink()
    machine.let_go()
    assert await asyncio.gather(*running) == ["".join(WORDS)] * 4


async def test_closing_closes_every_copy_and_one_on_its_way() -> None:
    machine = Machine(2)
    loaded = asyncio.Event()

    async def slowly(cards: Collection[int]) -> tuple[int, Engine] | None:
        await loaded.wait()
        return 1, machine.cards[1].engine()

    machine.copies = Copies("m", machine.cards[0].engine(), 0, {1}, slowly)
    running = await begin(machine, 2)
    closing = asyncio.create_task(machine.copies.close())
    await settle()
    loaded.set()
    await closing
    assert all(engine.closed for card in machine.cards for engine in card.engines[-1:])
    machine.let_go()
    await asyncio.gather(*running, return_exceptions=True)
