"""What is said of slices: by a leader to members, by workers to their ranks, and back."""

import hashlib
import hmac
from typing import Annotated, Literal

import msgspec

PROOF = 32
"""Bytes of what is asked to be proven with, and of the proof."""

Name = Annotated[str, msgspec.Meta(max_length=1024)]
Bytes = Annotated[int, msgspec.Meta(ge=0)]
Number = Annotated[int, msgspec.Meta(ge=0, le=1 << 20)]


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rank finds the others: it is number `rank` of `ranks`.

    They meet at torch's store, which the first opens at `address`:`port`, under `token`, which is
    told to nobody else.
    """

    rank: Number
    ranks: Annotated[int, msgspec.Meta(ge=2, le=1024)]
    address: Name
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)]
    token: Name


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What a leader asks of a member: to compute a slice of this very model, just as it does."""

    model: Name
    weights: Name
    tokenizer: Name
    like: Name
    place: Place


class Begin(msgspec.Struct, frozen=True, kw_only=True):
    """What a rank is started for: the model at `path`, on `device`, in `room` bytes."""

    path: str
    name: str
    place: Place
    device: str
    precision: str
    room: int
    slots: int
    threads: int


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """How a rank fares.

    "loading" comes with how much is `done`, 0 to 1, "ready" with what there is now: `bytes` of
    weights in this slice, of `layers` layers; "failed" with an error's `code`, `message` and
    `remedy`, and as a `victim` if another rank is to blame.
    """

    state: Literal["loading", "ready", "failed"]
    done: float = 0.0
    bytes: Bytes = 0
    layers: Number = 0
    precision: Name = ""
    choice: Name = ""
    capabilities: Annotated[list[Number], msgspec.Meta(max_length=64)] = []
    code: Number = 0
    message: Name = ""
    remedy: Name = ""
    victim: bool = False


def proof(secret: bytes, nonce: bytes, content: bytes) -> bytes:
    """Return what shows that who says `content`, after `nonce` was said, knows the secret.

    The tunnel asks for it already; but within a machine, anybody can reach its ends.
    """
    return hmac.new(secret, b"daiic slice" + nonce + content, hashlib.sha256).digest()
