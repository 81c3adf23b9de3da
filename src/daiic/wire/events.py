"""What an endpoint tells the application."""

from dataclasses import dataclass

from daiic.wire.messages import Address


@dataclass(slots=True)
class Message:
    """A whole message arrived: HEARTBEAT, TASK, RESULT, CANCEL or ERROR.

    Reliable types arrive once each, in no particular order. `timestamp` is
    the sender's clock in microseconds since the Epoch when it sent the
    message, or the CHUNK that made it whole.
    """

    peer: Address
    type: int
    sequence: int
    timestamp: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """`peer` has the HEARTBEAT that we sent with `sequence`; `rtt` is in seconds."""

    peer: Address
    sequence: int
    rtt: float


@dataclass(frozen=True, slots=True)
class Pong:
    """`peer` answered our PING after `rtt` seconds."""

    peer: Address
    rtt: float


@dataclass(frozen=True, slots=True)
class Unreachable:
    """`peer` acknowledged nothing for `Limits.give_up` seconds.

    The messages with these `sequences` may or may not have arrived; they are
    not sent again.
    """

    peer: Address
    sequences: tuple[int, ...]


Event = Message | Acknowledged | Pong | Unreachable
