"""What has arrived of an answer is taken all at once, and an error only after it."""

import asyncio

import pytest

from daiic.client.call import Call
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

LOST = TaskError(pb.WORKER_LOST, "the worker is lost", "try again")


@pytest.fixture
def call() -> Call:
    return Call(pb.Task(text=pb.TextTask(prompt="x")), 7, ("127.0.0.1", 7717), 0.0)


def part(index: int) -> pb.Result:
    return pb.Result(id=7, index=index, text=str(index), tokens=[index])


async def texts(call: Call) -> list[str]:
    return [result.text for result in await call.take()]


async def test_parts_that_wait_are_taken_together_and_in_order(call: Call) -> None:
    for index in (0, 2, 1):
        call.accept(part(index), 1.0)
    assert await texts(call) == ["0", "1", "2"]


async def test_who_takes_waits_for_the_next_part_in_order(call: Call) -> None:
    taking = asyncio.create_task(texts(call))
    call.accept(part(1), 1.0)
    await asyncio.sleep(0.01)
    assert not taking.done()
    call.accept(part(0), 1.0)
    assert await asyncio.wait_for(taking, 1) == ["0", "1"]


async def test_an_error_comes_after_what_had_arrived(call: Call) -> None:
    call.accept(part(0), 1.0)
    call.fail(LOST)
    assert await texts(call) == ["0"]
    with pytest.raises(TaskError, match="the worker is lost"):
        await call.take()
