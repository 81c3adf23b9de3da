"""The fixed layouts: headers, SACK ranges, BATCHes, sequence arithmetic."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from daiic.wire.frames import covered, decode_sack, encode_sack, pack, ranges_of, split_batch
from daiic.wire.messages import HEADER, HEADER_SIZE, MessageType, encode
from daiic.wire.sequence import REMEMBERED, RecentSequences, distance, following

U32 = st.integers(0, 2**32 - 1)
U64 = st.integers(0, 2**64 - 1)


@given(st.integers(0, 255), U32, U64, st.binary(max_size=100))
def test_headers_round_trip(
    message_type: int, sequence: int, timestamp: int, payload: bytes
) -> None:
    datagram = encode(message_type, sequence, timestamp, payload)
    assert HEADER_SIZE == 17
    assert len(datagram) == 17 + len(payload)
    assert HEADER.unpack_from(datagram) == (message_type, sequence, timestamp, len(payload))


@given(U32, U32)
def test_distance_undoes_following(start: int, steps: int) -> None:
    assert distance(start, following(start, steps)) == steps


@given(st.lists(st.one_of(st.integers(0, 30), st.integers(2**32 - 30, 2**32 - 1)), max_size=40))
def test_ranges_cover_exactly_what_was_given(sequences: list[int]) -> None:
    ranges = ranges_of(sequences)
    everything = {s for start, end in ranges for s in range(start, end + 1)}
    assert everything == set(sequences)
    assert all(after[0] > before[1] + 1 for before, after in pairwise(ranges))
    for bounds in ranges:
        assert set(covered(bounds, everything)) == set(range(bounds[0], bounds[1] + 1))


@given(st.lists(st.tuples(U32, U32), max_size=64), U64)
def test_sacks_round_trip(ranges: list[tuple[int, int]], timestamp: int) -> None:
    assert decode_sack(encode_sack(ranges, timestamp)[HEADER_SIZE:]) == ranges


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=30))
def test_packed_messages_come_out_as_they_went_in(payloads: list[bytes]) -> None:
    frames = [encode(MessageType.TASK, i, 5, p) for i, p in enumerate(payloads)]
    unpacked = []
    for datagram in pack(frames, 400, 7):
        assert len(datagram) <= 400
        if datagram[0] == MessageType.BATCH:
            messages = split_batch(datagram[HEADER_SIZE:])
            assert messages is not None
            assert len(messages) > 1
            unpacked += [encode(*message) for message in messages]
        else:
            unpacked.append(datagram)
    assert unpacked == frames


@given(st.lists(U32, max_size=50), U32)
def test_recent_sequences_are_remembered(others: list[int], sequence: int) -> None:
    recent = RecentSequences()
    recent.add(sequence, 0.0)
    for other in others:
        recent.add(other, 1.0)
    assert sequence in recent


def test_the_latest_are_remembered_and_memory_is_bounded() -> None:
    recent = RecentSequences()
    for sequence in range(20 * REMEMBERED):
        recent.add(sequence, 0.0)
        assert sequence in recent
        assert max(0, sequence - REMEMBERED + 1) in recent
    assert sum(s in recent for s in range(20 * REMEMBERED)) <= 2 * REMEMBERED


def test_time_makes_forget_too() -> None:
    recent = RecentSequences(lifetime=60.0)
    recent.add(1, 0.0)
    recent.add(2, 61.0)
    assert 1 in recent
    recent.add(3, 122.0)
    assert 1 not in recent
