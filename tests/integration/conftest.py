"""What the tests of several daemons use."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.processes.notify_socket import NotifySocket


@pytest.fixture
def notify(tmp_path: Path) -> Iterator[NotifySocket]:
    """What a daemon tells systemd, whose NOTIFY_SOCKET is its `path`."""
    with contextlib.closing(NotifySocket(tmp_path / "notify")) as notify:
        yield notify
