"""Frames between workers and ranks: whole, of the kind that is expected, and bounded."""

import asyncio

import pytest

from daiic.worker.slices import frames
from daiic.worker.slices.frames import ASK, TOLD, FrameError, packed
from daiic.worker.slices.messages import Told, proof


def reader(content: bytes) -> asyncio.StreamReader:
    made = asyncio.StreamReader()
    made.feed_data(content)
    made.feed_eof()
    return made


async def test_frames_are_read_as_they_were_packed() -> None:
    heard = reader(packed(ASK, b"one") + packed(TOLD, b'{"state": "ready", "bytes": 7}'))
    assert await frames.read(heard) == (ASK, b"one")
    assert await frames.read_as(heard, TOLD, Told) == Told(state="ready", bytes=7)
    with pytest.raises(EOFError):
        await frames.read(heard)


@pytest.mark.parametrize(
    "content",
    [
        packed(ASK, b"{}"),
        packed(TOLD, b'{"state": "odd"}'),
        packed(TOLD, b'{"state": "ready", "bytes": -1}'),
        packed(TOLD, b"[" * 100_000),
        packed(TOLD, b"\xff"),
        packed(TOLD, bytes(101)),
    ],
)
async def test_what_nobody_says_is_refused(content: bytes) -> None:
    with pytest.raises(FrameError):
        await frames.read_as(reader(content), TOLD, Told, most=100_001)


async def test_long_frames_are_not_read() -> None:
    with pytest.raises(FrameError):
        await frames.read(reader(packed(TOLD, bytes(101))), most=100)


def test_a_proof_holds_for_one_secret_one_nonce_and_one_content() -> None:
    right = proof(b"secret", b"nonce", b"content")
    others = [
        proof(b"another", b"nonce", b"content"),
        proof(b"secret", b"other", b"content"),
        proof(b"secret", b"nonce", b"contents"),
    ]
    assert right not in others
