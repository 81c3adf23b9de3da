"""HydraMesh's sans-IO part does what the unit tests of `daiic-head` ask of that one's."""

import pkgutil
from collections.abc import Iterator
from importlib import import_module

import pytest

import unit.head
from daiic.head.dispatcher import Policy
from daiic.wire.messages import Address
from support.processes import built
from support.processes.lisp_core import LispCore, start
from support.processes.lisp_process import LispProcess
from unit.head.conftest import Client, Cluster

NOT_OF_LISP = {
    "test_two_workers_with_one_id_are_told_apart_and_reported_once": "reads structlog",
    "test_large_tasks_that_wait_take_their_bytes_and_no_more": "measures its own process",
    "test_small_bytes_that_decode_into_much_take_no_more_while_they_wait": "the same",
    "test_host_of_an_address": "calls a function of Python",
    "test_no_worker_makes_the_head_count_without_end": "looks into a table; HydraMesh has its own",
    "test_who_always_waits_is_served_no_less_than_another_but_for_one_task": "makes its cluster",
}

for _module in pkgutil.iter_modules(unit.head.__path__):
    if _module.name.startswith("test_"):
        for _name, _test in vars(import_module(f"unit.head.{_module.name}")).items():
            if _name.startswith("test_") and _name not in NOT_OF_LISP:
                assert _name not in globals(), f"two tests are called {_name}"
                globals()[_name] = _test


@pytest.fixture(scope="module")
def process() -> Iterator[LispProcess]:
    with built.or_skip("hydramesh"):
        process = start()
    yield process
    process.close()


@pytest.fixture
def new_cluster(process: LispProcess) -> Iterator[type[Cluster]]:
    class LispCluster(Cluster):
        """A cluster whose head is HydraMesh's."""

        def _start(self, policy: Policy) -> None:
            self.core = LispCore(  # type: ignore[assignment]
                process, policy, self, self.now, lambda: self.paused, self.limits
            )

        def answers(self, address: Address) -> bool:
            member = self.members.get(address)
            return isinstance(member, Client) and member.answers_pings

    before = process.said()
    yield LispCluster
    assert process.said() == before, "faults are logged"


@pytest.fixture
def cluster(new_cluster: type[Cluster]) -> Cluster:
    return new_cluster()
