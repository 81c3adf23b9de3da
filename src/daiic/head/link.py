"""The way out of the head's sans-IO part."""

from typing import Protocol

from daiic.wire.messages import Address, MessageType


class Link(Protocol):
    """Reaches workers and clients; `daiic.wire.udp.MeshSocket` is one."""

    def send(self, to: Address, message_type: MessageType, payload: bytes) -> int:
        """Send a message of any size; returns its sequence number."""

    def ping(self, to: Address) -> None:
        """Measure the distance to `to`; a `Pong` tells it."""

    def forget(self, peer: Address) -> None:
        """Drop all that is known about `peer`, and what was to be sent to it."""
