"""Users of one client get shares of a busy worker by their weights."""

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.wire.messages import MessageType
from support.peers.cast import Cast
from support.processes.head_process import HeadProcess

TASK = MessageType.TASK
EACH = 20


async def served(head: HeadProcess, cast: Cast, weights: dict[str, int], count: int) -> list[str]:
    """Return whose tasks the only worker gets first, of `EACH` from everyone."""
    worker, client = await cast.worker(head, slots=1), await cast.client(head)
    client.send(TASK, cast.task(1, client="busy"))
    running = await worker.next(TASK)
    number = 1
    for _ in range(EACH):
        for user, weight in weights.items():
            number += 1
            text = pb.TextTask(prompt=user, max_tokens=8)
            client.send(TASK, cast.task(number, client=user, weight=weight, text=text))
    await client.settle()
    users = []
    for _ in range(count):
        await worker.answer(running, "done")
        running = await worker.next(TASK)
        assert not running.weight and not running.client
        users.append(running.text.prompt)
    return users


async def test_users_of_a_client_share_a_busy_worker_evenly(head: HeadProcess, cast: Cast) -> None:
    users = await served(head, cast, {"ann": 0, "bob": 100}, 20)
    assert users.count("ann") == pytest.approx(10, abs=1)


async def test_weights_say_how_large_the_share_of_each_is(head: HeadProcess, cast: Cast) -> None:
    users = await served(head, cast, {"high": 400, "normal": 100, "low": 25}, 21)
    assert users.count("high") == pytest.approx(16, abs=1)
    assert users.count("normal") == pytest.approx(4, abs=1)
    assert users.count("low") == pytest.approx(1, abs=1)


async def test_no_weight_is_so_large_that_others_wait_for_ever(
    head: HeadProcess, cast: Cast
) -> None:
    users = await served(head, cast, {"endless": 2**32 - 1, "usual": 0}, 18)
    assert "usual" in users[:12]
