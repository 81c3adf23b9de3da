"""A short run of the fuzz targets, so that they stay alive between the long ones."""

import tracemalloc

import pytest

from fuzz import datagrams


@pytest.mark.parametrize("sealed", [False, True])
def test_no_datagram_raises_or_makes_memory_grow(sealed: bool) -> None:
    tracemalloc.start(1)
    try:
        outcome = datagrams.run(50_000, sealed, seed=7)
    finally:
        tracemalloc.stop()
    assert outcome.dropped > 0.2 * outcome.count
    assert outcome.events > 0
    assert outcome.sent > 0
