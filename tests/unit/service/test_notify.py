"""What systemd is told, on the socket that it would name."""

import asyncio
import contextlib
import os
import socket

import pytest

from daiic.service.notify import Notifier


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """Return a function that gives the messages sent so far."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.setblocking(False)
        listener.bind(path)
        monkeypatch.setenv("NOTIFY_SOCKET", path)

        def heard() -> list[str]:
            messages = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    messages.append(listener.recv(4096).decode())
            return messages

        yield heard


def test_states_are_told_in_systemds_words(systemd):
    notifier = Notifier({})
    notifier.ready()
    notifier.extend(1.5)
    notifier.reloading()
    notifier.stopping()
    ready, extend, reloading, stopping = systemd()
    assert (ready, extend, stopping) == ("READY=1", "EXTEND_TIMEOUT_USEC=1500000", "STOPPING=1")
    first, second = reloading.split("\n")
    assert first == "RELOADING=1"
    assert int(second.removeprefix("MONOTONIC_USEC=")) > 0


def test_status_is_sent_when_it_changes(systemd):
    notifier = Notifier({})
    for text in ("idle", "idle", "busy", "idle"):
        notifier.status(text)
    assert systemd() == ["STATUS=idle", "STATUS=busy", "STATUS=idle"]


def test_without_systemd_nothing_happens(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    Notifier({}).ready()


async def test_watchdog_is_fed_several_times_a_period_while_alive(systemd):
    alive = True
    notifier = Notifier({"WATCHDOG_USEC": "60000", "WATCHDOG_PID": str(os.getpid())})
    feeding = asyncio.create_task(notifier.feed_watchdog(lambda: alive))
    await asyncio.sleep(0.2)
    assert len(systemd()) >= 4
    alive = False
    await asyncio.sleep(0.05)
    systemd()
    await asyncio.sleep(0.1)
    assert systemd() == []
    feeding.cancel()


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "60000", "WATCHDOG_PID": "1"}])
async def test_watchdog_that_is_not_for_this_process_is_left_alone(systemd, environment):
    await asyncio.wait_for(Notifier(environment).feed_watchdog(), 1)
    assert systemd() == []


def test_no_name_in_a_status_line_speaks_to_systemd_itself(systemd):
    Notifier({}).status("loads a\nREADY=1\r\nMAINPID=1")
    (line,) = systemd()
    assert "\n" not in line and line.startswith("STATUS=loads a")
