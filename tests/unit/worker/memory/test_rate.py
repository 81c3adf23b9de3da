"""The rate of a model that a worker tells heads."""

import pytest

from daiic.bench.rounds import ALONE, loads
from daiic.worker.memory.model_entry import ModelEntry


def test_a_single_measurement_is_believed() -> None:
    entry = ModelEntry("m")
    entry.measured(7.0, alone=False)
    assert entry.rate == 7.0


def test_after_a_bench_the_rate_is_that_of_one_stream() -> None:
    assert loads(6) == [2, 4, 6, 1]
    assert loads(1) == [1]
    entry = ModelEntry("m")
    for streams in loads(32):
        for _ in range(ALONE if streams == 1 else streams):
            entry.measured(100.0 / streams, alone=streams == 1)
    assert entry.rate == pytest.approx(100.0, rel=0.1)


def test_many_tasks_at_once_hide_it_no_longer_than_they_last() -> None:
    entry = ModelEntry("m")
    entry.measured(100.0, alone=True)
    for _ in range(20):
        entry.measured(10.0, alone=False)
    assert entry.rate == pytest.approx(10.0, rel=0.1)
    entry.measured(100.0, alone=True)
    assert entry.rate > 50.0
