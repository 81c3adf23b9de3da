"""A long way for TCP: a relay that brings on each byte a fixed time after it has come.

`python tests/support/links/delay_relay.py --to 127.0.0.1:7729` prints its address. It takes
commands on its standard input, a line each, and answers each with a line: `delay SECONDS` (each
way) and `bytes` (those relayed so far, towards `to` and back). It is a process of its own, and
waits by `select`, because event loops round what they wait for up to milliseconds.
"""

import argparse
import contextlib
import ctypes
import os
import select
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass, field

PR_SET_TIMERSLACK = 29
"""From linux/prctl.h: by how many nanoseconds the kernel may wake a process late."""
CHUNK = 1 << 18
FULL = 1 << 28
"""Bytes under way at which no more are taken."""


@dataclass(slots=True, eq=False)
class Way:
    """One direction of a connection: what has come from `source` goes to `to` when it is due."""

    source: socket.socket
    to: socket.socket
    number: int
    under_way: deque[tuple[float, memoryview]] = field(default_factory=deque)
    size: int = 0
    ended: bool = False

    def take(self, delay: float) -> int:
        """Read what has come; return how much that was."""
        try:
            data = self.source.recv(CHUNK)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        self.ended = not data
        self.size += len(data)
        self.under_way.append((time.monotonic() + delay, memoryview(data)))
        return len(data)

    def bring(self, now: float) -> bool:
        """Send on what is due; return whether the receiver has no room for it now."""
        while self.under_way and self.under_way[0][0] <= now:
            due, data = self.under_way.popleft()
            if not data:
                self.to.shutdown(socket.SHUT_WR)
                continue
            try:
                sent = self.to.send(data)
            except BlockingIOError:
                sent = 0
            self.size -= sent
            if sent < len(data):
                self.under_way.appendleft((due, data[sent:]))
                return True
        return False

    @property
    def over(self) -> bool:
        return self.ended and not self.under_way


class DelayRelay:
    """Relays between any number of clients and the address `to`."""

    def __init__(self, to: tuple[str, int], delay: float) -> None:
        self.delay = delay
        self.bytes = [0, 0]
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._ways: list[Way] = []

    def run(self) -> None:
        """Relay until the standard input ends."""
        full: list[Way] = []
        while True:
            sources = {way.source: way for way in self._ways if not way.ended and way.size < FULL}
            due = [w.under_way[0][0] for w in self._ways if w.under_way and w not in full]
            wait = max(min(due) - time.monotonic(), 0.0) if due else None
            readable, _, _ = select.select(
                [self._listener, sys.stdin, *sources], [way.to for way in full], [], wait
            )
            for one in readable:
                if one is self._listener:
                    self._accept()
                elif one is sys.stdin:
                    if not (line := sys.stdin.readline()):
                        return
                    self._obey(line.split())
                else:
                    way = sources[one]
                    self.bytes[way.number] += way.take(self.delay)
            now = time.monotonic()
            full = []
            for way in self._ways:
                try:
                    if way.bring(now):
                        full.append(way)
                except OSError:  # the receiver is gone, and with it what is on the way back
                    way.ended = True
                    way.under_way.clear()
                    way.source.close()
            self._forget()

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        try:
            far = socket.create_connection(self._to)
        except OSError:
            near.close()
            return
        for one in (near, far):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            one.setblocking(False)
        self._ways += [Way(near, far, 0), Way(far, near, 1)]

    def _forget(self) -> None:
        for there, back in zip(self._ways[::2], self._ways[1::2], strict=True):
            if -1 in (there.source.fileno(), back.source.fileno()) or (there.over and back.over):
                there.source.close()
                back.source.close()
                self._ways.remove(there)
                self._ways.remove(back)

    def _obey(self, words: list[str]) -> None:
        if words[0] == "delay":
            self.delay = float(words[1])
        print(*self.bytes, flush=True)


def main() -> None:
    """Run a relay; its first line of output is its address."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", required=True)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds, each way")
    options = parser.parse_args()
    host, _, port = options.to.rpartition(":")
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    with contextlib.suppress(PermissionError):  # before all else, so that nothing comes late
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    relay = DelayRelay((host, int(port)), options.delay)
    print(f"{relay.address[0]}:{relay.address[1]}", flush=True)
    relay.run()


if __name__ == "__main__":
    main()
