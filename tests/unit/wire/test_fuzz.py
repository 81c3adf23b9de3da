"""A short run of the fuzz target, so that it stays alive between the long ones."""

import pytest

from fuzz import datagrams


@pytest.mark.parametrize("sealed", [False, True])
def test_no_datagram_raises_or_makes_memory_grow(sealed: bool) -> None:
    outcome = datagrams.run(100_000, sealed, seed=7)
    assert outcome.dropped > 0.2 * outcome.count
    assert outcome.events > 0
    assert outcome.sent > 0
