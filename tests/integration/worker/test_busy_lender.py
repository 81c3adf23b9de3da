"""Memory that is lent to one leader: another learns that soon, and gets it when that has left."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.sharding import group
from daiic.worker.sharding.group import Group, Lead
from daiic.worker.sharding.lender import Lender
from daiic.worker.sharding.plan import Member, Plan
from daiic.worker.sharding.tunnel import secret_of
from support.llama_cpp.running import LENDING, PATH

pytestmark = LENDING
GIB = 1 << 30


@pytest.fixture
async def plan(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Plan]:
    """Have a worker called "attic" lend memory, and return a plan with it."""
    monkeypatch.setenv("PATH", PATH["PATH"])
    ready = asyncio.Event()
    lead = Lead("attic", "attic", secret_of(None), encrypted=False)
    lender = Lender("127.0.0.1:0", lead, lambda: GIB, 1, ready.set)
    lending = asyncio.create_task(lender.run("127.0.0.1:1"))
    await ready.wait()
    offer = lender.offer()
    assert offer is not None
    assert 0 < offer.bytes < GIB  # not what running a model takes
    yield Plan((Member("id", "attic", offer.address, offer.bytes),))
    lending.cancel()
    await asyncio.wait({lending})


async def test_second_leader_is_refused_soon_and_served_when_the_first_has_left(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await Group.form(Lead("1", "one", secret_of(None), encrypted=False), plan)
    host, port = first.endpoints[0].split(":")
    _, writer = await asyncio.open_connection(host, int(port))
    await asyncio.sleep(1)  # until the rpc-server has it
    second = Lead("2", "two", secret_of(None), encrypted=False)
    with monkeypatch.context() as hasty:
        hasty.setattr(group, "BUSY", 2.0)
        with pytest.raises(TaskError) as caught:
            await Group.form(second, plan)
    assert caught.value.code == pb.WORKER_LOST
    assert caught.value.message == "attic lends its memory to another worker now"
    writer.close()
    await first.close()
    again = await Group.form(second, plan)
    assert not again.broken
    await again.close()
