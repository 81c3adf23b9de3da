"""The sans-IO part of HydraMesh's head, in a process of its own, with the surface of `daiic`'s."""

import dataclasses
import ipaddress
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

from daiic.head.dispatcher import Policy
from daiic.head.limits import HeadLimits
from daiic.wire.endpoint import MessageTooLarge
from daiic.wire.events import Event, Message, Pong
from daiic.wire.messages import Address, MessageType

from .lisp_process import LispProcess

COUNTED = ("malformed", "foreign", "refused_heartbeats", "repeated")


class Ways(Protocol):
    """A link, and whether who is pinged there answers."""

    def send(self, to: Address, message_type: MessageType, payload: bytes) -> int | None: ...

    def answers(self, address: Address) -> bool: ...


def start() -> LispProcess:
    """Start lisp_core.lisp, which has one core at a time.

    Raises:
        CannotBuildError: if there is no SBCL.
    """
    process = LispProcess(Path(__file__).with_suffix(".lisp"))
    assert process.read() == b"R"
    return process


class LispCore:
    """A `daiic.head.core.Core` that is in the process."""

    def __init__(
        self,
        process: LispProcess,
        policy: Policy,
        ways: Ways,
        now: float,
        paused: Callable[[], float],
        limits: HeadLimits,
    ) -> None:
        self.clients = _Clients(self)
        self._process = process
        self._policy = policy
        self._ways = ways
        self._paused = paused
        self._now = now
        settings = (
            _microseconds(policy.worker_timeout),
            policy.queue_size,
            _microseconds(policy.task_deadline),
            policy.max_attempts,
            *(getattr(limits, field.name) for field in dataclasses.fields(limits)),
        )
        self.request(b"N", struct.pack(f">{len(settings)}Q", *settings))

    def take(self, event: Event, now: float) -> None:
        """Act on what the mesh reports."""
        self._now = now
        peer = struct.pack(">Q", _number(event.peer))
        if isinstance(event, Message):
            head = struct.pack(">BI", event.message_type, event.sequence)
            self.request(b"M", peer + head + event.payload)
        else:
            rtt = struct.pack(">Q", _microseconds(event.rtt)) if isinstance(event, Pong) else b""
            self.request(b"P" if rtt else b"U", peer + rtt)

    def tick(self, now: float) -> None:
        """Do what time demands."""
        self._now = now
        self.request(b"T")

    def abandon(self, now: float) -> None:
        """End every task with SHUTTING_DOWN."""
        self._now = now
        self.request(b"A")

    @property
    def statistics(self) -> SimpleNamespace:
        """Some of what it has counted."""
        return SimpleNamespace(**dict(zip(COUNTED, self._books(), strict=False)))

    @property
    def dispatcher(self) -> SimpleNamespace:
        """The numbers of its jobs, and what of them workers have."""
        in_flight, jobs, memory, *workers = self._books()[len(COUNTED) :]
        assert jobs or not memory, "memory is reckoned for tasks that are over"
        return SimpleNamespace(
            policy=self._policy,
            in_flight=in_flight,
            jobs=dict.fromkeys(range(jobs)),
            workers=[
                SimpleNamespace(attempts=range(attempts), slots=slots)
                for attempts, slots in zip(workers[::2], workers[1::2], strict=True)
            ],
        )

    def _books(self) -> tuple[int, ...]:
        books = self.request(b"B")
        return struct.unpack(f">{len(books) // 8}Q", books)

    def request(self, letter: bytes, body: bytes = b"") -> bytes:
        """Have something done, and act on what the head does meanwhile."""
        times = struct.pack(">QQ", _microseconds(self._now), _microseconds(self._paused()))
        self._process.write(letter + times + body)
        failure: Exception | None = None
        while (said := self._process.read())[:1] != b"D":
            address = _address(struct.unpack_from(">Q", said, 1)[0])
            reply = b"\1"
            if said[:1] == b"G":
                reply = bytes([self._ways.answers(address)])
            else:
                try:
                    kind = MessageType(said[9])
                    if self._ways.send(address, kind, said[10:]) is None:
                        reply = b"\0"
                except MessageTooLarge as error:
                    reply = b"\2" + str(error).encode()
                except Exception as error:  # a test's fault, told once Lisp is ready for the next
                    failure = failure or error
            self._process.write(reply)
        if failure is not None:
            raise failure
        return said[1:]


class _Clients:
    """As much of `daiic.head.client_messages` as tests use."""

    def __init__(self, core: LispCore) -> None:
        self._core = core

    def _close(self, closed: bool) -> None:
        self._core.request(b"C", struct.pack(">Q", closed))

    closed: Any = property(None, _close)


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


def _number(address: Address) -> int:
    return int(ipaddress.IPv4Address(address[0])) << 16 | address[1]


def _address(number: int) -> Address:
    return str(ipaddress.IPv4Address(number >> 16)), number & 0xFFFF
