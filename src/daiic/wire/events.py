"""What an endpoint tells the application."""

from dataclasses import dataclass

from daiic.wire.messages import Address


@dataclass(slots=True)
class Message:
    """A whole message arrived here: HEARTBEAT, TASK, RESULT, CANCEL or ERROR.

    Reliable types arrive once each, in no particular order. `timestamp` is
    the sender's clock in microseconds since the Epoch when it sent the
    message, or the CHUNK that made it whole.
    """

    peer: Address
    message_type: int
    sequence: int
    timestamp: int
    payload: bytes


@dataclass(slots=True)
class Delivered:
    """`peer` has acknowledged all of the message that `send` gave the number `sequence`.

    It comes once for a message, and not after an `Unreachable` that lists it.
    What the peer does with the message is another matter. `rtt` is the round
    trip in seconds of the last piece to be acknowledged, `None` if that was
    sent more than once: it is not known which transmission was answered.
    """

    peer: Address
    sequence: int
    rtt: float | None


@dataclass(frozen=True, slots=True)
class Pong:
    """`peer` answered our PING after `rtt` seconds."""

    peer: Address
    rtt: float


@dataclass(frozen=True, slots=True)
class Unreachable:
    """`peer` acknowledged nothing for `Limits.give_up` seconds.

    The messages with these `sequences` may or may not have arrived; they are
    not sent again. A HEARTBEAT of one datagram is never among them.
    """

    peer: Address
    sequences: tuple[int, ...]


Event = Message | Delivered | Pong | Unreachable
