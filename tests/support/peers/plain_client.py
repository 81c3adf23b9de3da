"""A DCF client of the simplest kind: a socket, and the base types."""

import asyncio
import itertools
import json
import socket
import struct
import time
from dataclasses import dataclass

from daiic.wire import daiic_pb2 as pb

HEADER = struct.Struct(">BIQI")
TASK, RESULT, ACK, PING, PONG, CANCEL, ERROR = 0x02, 0x03, 0x06, 0x07, 0x08, 0x22, 0x23


@dataclass(slots=True)
class Received:
    kind: int
    sequence: int
    payload: bytes

    def result(self) -> pb.Result:
        assert self.kind == RESULT, self
        return pb.Result.FromString(self.payload)

    def error(self) -> pb.Error:
        assert self.kind == ERROR, self
        return pb.Error.FromString(self.payload)

    def json(self) -> dict[str, object]:
        assert self.kind == RESULT, self
        return json.loads(self.payload)


class PlainClient:
    """`acknowledges`: it sends ACKs; `answers_pings`: and PONGs. A small task needs neither."""

    def __init__(
        self,
        to: tuple[str, int],
        *,
        acknowledges: bool = False,
        answers_pings: bool = False,
        host: str = "127.0.0.1",
    ) -> None:
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.socket.connect(to)
        self.socket.setblocking(False)
        self.acknowledges = acknowledges
        self.answers_pings = answers_pings
        self.bytes_sent = self.bytes_received = 0
        self.acknowledged: set[int] = set()
        self._sequences = itertools.count(1)

    def __enter__(self) -> "PlainClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, kind: int, payload: bytes = b"", sequence: int | None = None) -> int:
        """Send one datagram and return its sequence number."""
        if sequence is None:
            sequence = next(self._sequences)
        stamp = time.time_ns() // 1000
        datagram = HEADER.pack(kind, sequence, stamp, len(payload)) + payload
        self.bytes_sent += len(datagram)
        self.socket.send(datagram)
        return sequence

    def send_task(self, task: pb.Task, sequence: int | None = None) -> int:
        return self.send(TASK, task.SerializeToString(), sequence)

    async def datagram(self, seconds: float = 5.0) -> Received:
        """Return the next datagram, whatever it is."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(seconds):
            data = await loop.sock_recv(self.socket, 65536)
        self.bytes_received += len(data)
        kind, sequence, _, length = HEADER.unpack_from(data)
        assert length == len(data) - HEADER.size
        return Received(kind, sequence, data[HEADER.size :])

    async def answer(self, seconds: float = 5.0) -> Received:
        """Return the next RESULT or ERROR, once however often it comes."""
        async with asyncio.timeout(seconds):
            while True:
                received = await self.datagram(seconds)
                if received.kind == PING and self.answers_pings:
                    self.send(PONG, sequence=received.sequence)
                elif received.kind in (RESULT, ERROR):
                    known = received.sequence in self.acknowledged
                    if self.acknowledges:
                        self.send(ACK, sequence=received.sequence)
                    self.acknowledged.add(received.sequence)
                    if not known:
                        return received

    async def whole_text(self, seconds: float = 10.0) -> str:
        """Return a streamed answer's text, its parts put in order."""
        parts: dict[int, pb.Result] = {}
        async with asyncio.timeout(seconds):
            while not any(p.final and len(parts) == p.index + 1 for p in parts.values()):
                part = (await self.answer(seconds)).result()
                assert part.index not in parts, "a part came twice"
                parts[part.index] = part
        return "".join(parts[index].text for index in sorted(parts))
