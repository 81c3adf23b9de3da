"""A node of another DCF implementation, as a head with a mesh sees it."""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Callable

from daiic.wire.messages import HEADER, MessageType, encode
from support.processes.daemon import PATIENCE

MESH = 11
HEALTHY, UNREACHABLE = 0, 2
RELAY = 1


class DcfNode:
    """A node of DCF's: it PINGs a head, REPORTs to it, and knows nothing else."""

    def __init__(self, head: tuple[str, int], node: int) -> None:
        self.node = node
        self.heard: Counter[int] = Counter()
        self.roles: list[tuple[int, int, int]] = []
        self.pongs: list[tuple[int, int]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.connect(head)
        self._socket.setblocking(False)
        self._sequence = 0

    def __enter__(self) -> "DcfNode":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def tick(self, peers: list[tuple[int, int, int]]) -> None:
        """Do what such a node does each second."""
        self._sequence += 1
        self._send(MessageType.PING, b"")
        report = struct.pack(">BBHB", 0, 1, self.node, len(peers))
        self._send(MESH, report + b"".join(struct.pack(">HBH", *peer) for peer in peers))

    def _send(self, message_type: int, payload: bytes) -> None:
        self._socket.send(encode(message_type, self._sequence, 1000 + self._sequence, payload))

    def listen(self) -> None:
        """Take in what has come, and answer PINGs."""
        while True:
            try:
                datagram = self._socket.recv(65536)
            except BlockingIOError:
                return
            message_type, sequence, timestamp, length = HEADER.unpack_from(datagram)
            self.heard[message_type] += 1
            if message_type == MESH:
                kind, version, *role = struct.unpack(">BBHBH", datagram[HEADER.size :])
                assert (kind, version) == (1, 1)
                self.roles.append(tuple(role))
            elif message_type == MessageType.PONG:
                assert length == 0
                self.pongs.append((sequence, timestamp))
            elif message_type == MessageType.PING:
                self._socket.send(encode(MessageType.PONG, sequence, timestamp))


async def live(nodes: dict[DcfNode, list[tuple[int, int, int]]], done: Callable[[], bool]) -> None:
    """Let nodes report their peers until it is `done`."""
    async with asyncio.timeout(PATIENCE):
        while not done():
            for node, peers in nodes.items():
                node.tick(peers)
            for _ in range(10):
                await asyncio.sleep(0.02)
                for node in nodes:
                    node.listen()
