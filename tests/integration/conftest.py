"""What the tests of several daemons use."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes import built, heads
from support.processes.heads import Head
from support.processes.notify_socket import NotifySocket


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[NotifySocket]:
    """What a daemon tells systemd, whose NOTIFY_SOCKET is its `path`."""
    with contextlib.closing(NotifySocket(tmp_path / "notify")) as notify:
        yield notify


@pytest.fixture(scope="module", params=heads.names())
def each_head(request: pytest.FixtureRequest) -> Head:
    """The test runs with each head, which every `HeadProcess` that it starts is then."""
    with built.or_skip(request.param):
        return heads.find(request.param)


@pytest.fixture(autouse=True)
def _current_head(request: pytest.FixtureRequest) -> Iterator[None]:
    """Make `each_head` the current one for as long as the test runs."""
    if "each_head" not in request.fixturenames:
        yield
        return
    with heads.using(request.getfixturevalue("each_head")):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out with other heads what is marked as a test of `daiic-head`, or of this project's."""
    for mark_name, tested in (
        ("only_daiic_head", {heads.DAIIC_HEAD}),
        ("only_our_heads", {heads.DAIIC_HEAD, heads.HYDRAMESH}),
    ):
        for item in items:
            mark = item.get_closest_marker(mark_name)
            call = getattr(item, "callspec", None)
            if mark is None or call is None or "each_head" not in call.params:
                continue
            if call.params["each_head"] not in tested:
                reason = f"only of {' and '.join(sorted(tested))}: {mark.args[0]}"
                item.add_marker(pytest.mark.skip(reason=reason))
