"""The way out of the head's sans-IO part."""

from typing import Protocol

from daiic.wire.messages import Address, MessageType


class Link(Protocol):
    """Reaches workers and clients; `daiic.wire.udp.MeshSocket` is one."""

    def send(self, to: Address, message_type: MessageType, payload: bytes) -> int | None:
        """Send a message; `None` if so much waits that there is no room for it.

        Raises:
            MessageTooLarge: if it is larger than any message may be.
        """

    def ping(self, to: Address) -> None:
        """Measure the distance to `to`; a `Pong` tells it."""

    def forget(self, peer: Address) -> None:
        """Drop all that is known about `peer`, and what was to be sent to it."""
