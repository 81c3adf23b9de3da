"""The cluster key: only its holders are heard, each datagram once."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daiic.wire.counters import Counters
from daiic.wire.keyfile import ClusterKey
from daiic.wire.limits import Limits
from daiic.wire.messages import HEADER, MessageType, encode
from daiic.wire.replay import WINDOW, ReplayWindow
from daiic.wire.sealing import OVERHEAD, Sealer
from support.links.lossy_relay import Conditions
from support.links.simulated_link import EPOCH, SimulatedLink

KEY = ClusterKey(bytes(range(32)))
OTHER = ClusterKey(bytes(range(1, 33)))


def drops(counters: Counters) -> dict[str, int]:
    return {
        name: value
        for name, value in counters.as_dict().items()
        if value and name.startswith("dropped_")
    }


def test_holders_of_the_key_understand_each_other() -> None:
    link = SimulatedLink(Conditions(loss=0.1, duplicate=0.1))
    a, b = link.node(key=KEY), link.node(key=KEY)
    sent = [b"%d" % i for i in range(200)] + [bytes(50_000)]
    for payload in sent:
        a.send(b, payload)
    assert link.run(60.0, a.endpoint.idle)
    assert sorted(b.payloads) == sorted(sent)
    assert set(drops(b.endpoint.counters)) == {"dropped_replayed"}


@pytest.mark.parametrize("key", [None, OTHER])
def test_others_are_not_heard_and_hear_nothing(key: ClusterKey | None) -> None:
    link = SimulatedLink()
    a, b = link.node(key=key), link.node(key=KEY)
    a.send(b, b"let me in")
    a.send(b, b"here", MessageType.HEARTBEAT)
    a.endpoint.ping(b.address, link.now)
    link.run(20.0)
    assert not b.events
    assert b.endpoint.counters.datagrams_sent == 0
    assert set(drops(b.endpoint.counters)) == {"dropped_forged"}
    assert len(a.unreachable) == 1


@settings(max_examples=200)
@given(payload=st.binary(max_size=200), data=st.data())
def test_any_change_to_a_datagram_is_noticed(payload: bytes, data: st.DataObject) -> None:
    link = SimulatedLink()
    plain = encode(MessageType.TASK, 1, link.wall_clock(), payload)
    sealed = Sealer(KEY, Limits(), Counters()).seal(plain)
    bit = data.draw(st.integers(0, 8 * len(sealed) - 1))
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    b = link.node(key=KEY)
    b.receive(bytes(changed), ("10.9.9.9", 1))
    b.receive(sealed[: data.draw(st.integers(0, len(sealed) - 1))], ("10.9.9.9", 1))
    b.flush()
    assert not b.events
    assert sum(drops(b.endpoint.counters).values()) == 2
    b.receive(sealed, ("10.9.9.9", 1))
    b.flush()
    assert b.payloads == [payload]


def test_a_corrupting_link_loses_nothing() -> None:
    link = SimulatedLink(Conditions(delay=0.005, corrupt=0.1), seed=5)
    a, b = link.node(key=KEY), link.node(key=KEY)
    payload = bytes(range(256)) * 2000
    a.send(b, payload)
    assert link.run(60.0, a.endpoint.idle)
    assert b.payloads == [payload]
    assert b.endpoint.counters.dropped_forged > 10


def test_what_was_recorded_does_not_work_again() -> None:
    link = SimulatedLink()
    a, b = link.node(key=KEY), link.node(key=KEY)
    a.send(b, b"once")
    recorded = [datagram for datagram, _ in a.flush()]
    for source in (a.address, ("10.6.6.6", 6)):
        for datagram in recorded:
            b.receive(datagram, source)
    b.flush()
    assert b.payloads == [b"once"]
    assert b.endpoint.counters.dropped_replayed == len(recorded)


def test_what_was_recorded_long_ago_does_not_work_after_a_restart_either() -> None:
    link = SimulatedLink()
    a, b = link.node(key=KEY), link.node(key=KEY)
    a.send(b, b"once")
    recorded = [datagram for datagram, _ in a.flush()]
    link.now += Limits().max_clock_skew + 1
    for datagram in recorded:
        b.receive(datagram, a.address)
    b.flush()
    assert not b.payloads
    assert b.endpoint.counters.dropped_clock_skew == len(recorded)


def test_an_endpoint_does_not_listen_to_its_own_echo() -> None:
    link = SimulatedLink()
    a = link.node(key=KEY)
    a.endpoint.send(("10.0.0.1", 99), MessageType.TASK, b"echo", link.now)
    for datagram, to in a.flush():
        a.receive(datagram, to)
    a.flush()
    assert not a.payloads
    assert a.endpoint.counters.dropped_replayed > 0


def test_every_process_seals_with_a_key_of_its_own() -> None:
    plain = encode(MessageType.PING, 1, EPOCH, b"same")
    sealed = {Sealer(KEY, Limits(), Counters()).seal(plain)[33:] for _ in range(50)}
    assert len({s[:8] for s in sealed}) == 1  # the same counter ...
    assert len({s[8:] for s in sealed}) == 50  # ... and yet never the same ciphertext


def test_sealing_hides_the_payload_and_adds_40_bytes() -> None:
    plain = encode(MessageType.TASK, 1, EPOCH, b"a secret prompt")
    sealed = Sealer(KEY, Limits(), Counters()).seal(plain)
    assert b"secret" not in sealed
    assert len(sealed) == len(plain) + OVERHEAD == len(plain) + 40
    assert HEADER.unpack_from(sealed) == (MessageType.TASK, 1, EPOCH, len(plain) + 40 - 17)


def test_sessions_are_bounded_and_the_least_recent_goes_first() -> None:
    link = SimulatedLink()
    b = link.node(Limits(max_sessions=3), KEY)
    sealers = [Sealer(KEY, Limits(), Counters()) for _ in range(4)]

    def heard(number: int, timestamp: int) -> bool:
        before = b.endpoint.counters.frames_received[MessageType.PING]
        b.receive(sealers[number].seal(encode(MessageType.PING, 1, timestamp)), ("10.1.1.1", 1))
        return b.endpoint.counters.frames_received[MessageType.PING] > before

    now = link.wall_clock()
    assert all(heard(number, now) for number in (0, 1, 2, 0, 3))
    long_ago = now - 120_000_000
    assert heard(0, long_ago)
    assert heard(3, long_ago)
    assert not heard(1, long_ago)  # forgotten, so its clock counts again


@given(
    st.lists(
        st.one_of(st.integers(0, 3 * WINDOW), st.integers(WINDOW - 20, WINDOW + 20)), max_size=60
    )
)
def test_the_replay_window_is_a_set_with_a_horizon(counters: list[int]) -> None:
    window, seen = ReplayWindow(), set()
    for counter in counters:
        beyond = bool(seen) and counter <= max(seen) - WINDOW
        assert window.accept(counter) == (counter not in seen and not beyond)
        if not beyond:
            seen.add(counter)
