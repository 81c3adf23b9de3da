"""Retransmission timeouts, losses and the congestion window, by the numbers of their RFCs."""

import pytest

from daiic.wire.congestion import CongestionWindow, Pacer
from daiic.wire.counters import Counters
from daiic.wire.limits import Limits, MemoryUse
from daiic.wire.messages import MessageType
from daiic.wire.outbox import Outbox
from daiic.wire.recovery import PROBES, Flight, Outgoing, Recovery
from daiic.wire.rtt import GRANULARITY, RttEstimator
from support.links.lossy_relay import Conditions
from support.links.simulated_link import SimulatedLink

MIB = 1 << 20


def test_rtt_follows_rfc_6298() -> None:
    rtt = RttEstimator()
    assert rtt.timeout(0) == 1.0
    rtt.sample(0.2)
    assert (rtt.smoothed, rtt.variation) == (0.2, 0.1)
    assert rtt.timeout(0) == pytest.approx(0.2 + 4 * 0.1)
    rtt.sample(0.4)
    # RTTVAR = 3/4 * 0.1 + 1/4 * |0.2 - 0.4|, SRTT = 7/8 * 0.2 + 1/8 * 0.4
    assert rtt.variation == pytest.approx(0.125)
    assert rtt.smoothed == pytest.approx(0.225)
    assert rtt.timeout(0) == pytest.approx(0.225 + 4 * 0.125)


def test_the_timeout_has_a_floor_doubles_and_has_a_ceiling() -> None:
    rtt = RttEstimator()
    for _ in range(100):
        rtt.sample(0.001)
    assert rtt.spread() == pytest.approx(0.001 + GRANULARITY, rel=0.01)
    assert rtt.timeout(0) == RttEstimator.MIN_TIMEOUT
    assert [rtt.timeout(n) for n in (1, 2, 3)] == pytest.approx([0.2, 0.4, 0.8])
    assert rtt.timeout(1000) == RttEstimator.MAX_TIMEOUT


def test_many_samples_of_one_round_trip_weigh_like_one() -> None:
    once, often = RttEstimator(), RttEstimator()
    for rtt in (once, often):
        rtt.sample(0.1)
    once.sample(0.2)
    for _ in range(50):
        often.sample(0.2, under_way=100)
    assert often.smoothed == pytest.approx(once.smoothed, rel=0.1)


def flights(recovery: Recovery, count: int, at: float) -> list[Flight]:
    sent = [Flight(Outgoing(s, 2, b"", 0), 0, s) for s in range(count)]
    for flight in sent:
        recovery.sent(flight, 1200, at + flight.sequence * 1e-3)
    return sent


def take_lost(recovery: Recovery, now: float) -> list[int]:
    recovery.find_lost(now)
    lost = []
    while (flight := recovery.take_lost()) is not None:
        lost.append(flight.sequence)
    return lost


def test_a_hole_is_filled_once_its_answer_is_overdue() -> None:
    recovery = Recovery(1200, MIB)
    flights(recovery, 10, 1.0)
    recovery.acknowledged([(0, 2), (4, 9)], 1.02)
    patience = recovery.rtt.spread()
    assert take_lost(recovery, 1.003 + patience - 1e-4) == []
    assert take_lost(recovery, 1.003 + patience + 1e-4) == [3]


def test_what_was_sent_after_the_newest_answer_is_not_lost_yet() -> None:
    recovery = Recovery(1200, MIB)
    flights(recovery, 10, 1.0)
    recovery.acknowledged([(0, 4)], 1.02)
    assert take_lost(recovery, 1.0 + 0.099) == []


def test_silence_sends_the_oldest_again_with_doubling_patience() -> None:
    recovery = Recovery(1200, MIB)
    flights(recovery, 10, 1.0)
    at = recovery.next_timeout()
    assert at == pytest.approx(2.0)
    assert take_lost(recovery, at - 1e-6) == []
    assert take_lost(recovery, at) == [0, 1]
    assert recovery.next_timeout() == pytest.approx(1.002 + 2.0)


def test_karn_an_answer_to_what_was_sent_twice_is_no_sample() -> None:
    recovery = Recovery(1200, MIB)
    (flight,) = flights(recovery, 1, 1.0)
    assert take_lost(recovery, 2.0) == [0]
    recovery.sent(flight, 1200, 2.0)
    recovery.acknowledged([(0, 0)], 2.5)
    assert recovery.rtt.smoothed is None


def test_an_answer_too_fast_for_the_second_shows_the_first_was_late() -> None:
    recovery = Recovery(1200, MIB)
    sent = flights(recovery, 20, 1.0)
    recovery.acknowledged([(1, 19)], 1.04)
    before = recovery.rtt.spread()
    now = 1.0 + before + 1e-3
    assert take_lost(recovery, now) == [0]
    recovery.sent(sent[0], 1200, now)
    recovery.acknowledged([(0, 0)], now + 0.001)
    assert recovery.rtt.spread() > before


def test_a_jittery_link_is_not_taken_for_a_lossy_one() -> None:
    link = SimulatedLink(Conditions(delay=0.01, jitter=0.005))
    a, b = link.node(), link.node()
    a.send(b, bytes(8 * MIB))
    assert link.run(30.0, a.endpoint.idle)
    counters = a.endpoint.counters
    assert counters.retransmissions < 0.01 * counters.datagrams_sent


@pytest.mark.parametrize("rate", [200e3, 1e6, 10e6])
@pytest.mark.parametrize("loss", [0.0, 0.03])
def test_a_bottleneck_is_filled_and_not_flooded(rate: float, loss: float) -> None:
    link = SimulatedLink(Conditions(delay=0.01, loss=loss), rate=rate, queue=int(rate * 0.1))
    a, b = link.node(), link.node()
    size = int(rate * 4)
    a.send(b, bytes(size))
    began = link.now
    assert link.run(60.0, lambda: bool(b.messages))
    assert size / (link.now - began) > 0.7 * rate
    counters = a.endpoint.counters
    assert counters.retransmissions < (0.12 + 2 * loss) * counters.datagrams_sent


def test_heavy_loss_and_a_long_queue_shrink_the_window() -> None:
    for queue, loss in ((0.1, 0), (0.0, 30)):
        window = CongestionWindow(1200, MIB)
        window.measured(0.01, 0.0)
        window.acknowledged(60_000, 0.0, True, 0.01)
        before = window.size
        window.measured(0.01 + queue, 0.1)
        window.lost(loss * 1200)
        window.acknowledged(60_000, 0.02, False, 0.2)
        assert window.size < before
        assert not window.growing


def test_a_few_lost_datagrams_do_not_shrink_the_window() -> None:
    window = CongestionWindow(1200, MIB)
    window.measured(0.01, 0.0)
    window.acknowledged(60_000, 0.0, True, 0.01)
    before = window.size
    window.measured(0.01, 0.02)
    window.lost(3 * 1200)
    window.acknowledged(60_000, 0.02, True, 0.03)
    assert window.size >= before


def test_the_window_stays_within_its_bounds() -> None:
    window = CongestionWindow(1200, MIB)
    window.measured(0.01, 0.0)
    for round_trip in range(100):
        window.acknowledged(100_000, float(round_trip), True, round_trip + 0.01)
    assert window.size == MIB
    window.collapse()
    assert window.size == 8 * 1200


def test_the_pacer_spreads_what_the_window_allows() -> None:
    pacer = Pacer()
    rate, sent, now = 10e6, 0.0, 0.0
    while now < 1.0:
        allowance = pacer.allowance(rate, now)
        if allowance > 0:
            sent += 1200
            pacer.left(allowance - 1200)
        else:
            now = pacer.ready_at(rate)
    assert sent == pytest.approx(rate, rel=0.02)


def test_a_silent_peer_is_probed_at_each_timeout_however_slow_the_pace() -> None:
    outbox = Outbox(("10.0.0.1", 2), Limits(), 0, MemoryUse(), Counters())
    outbox.capacity = Limits().loopback_mtu  # large ones are what a slow pace holds back longest
    outbox.queue(MessageType.TASK, bytes(80 * MIB))
    now = 0.0
    for _ in range(20):  # an answer to everything after 0.2 s, then silence
        sent = outbox.frames_to_send(now, 0)
        now += 0.2
        sequences = [int.from_bytes(frame[1:5], "big") for frame in sent]
        outbox.acknowledged([(s, s) for s in sequences], now, [])
    outbox.frames_to_send(now, 0)
    give_up = now + Limits().give_up
    while True:
        due = outbox.next_timeout()
        assert due is not None
        assert due > now
        now = due
        if outbox.silent_too_long(now):
            break
        assert outbox.frames_to_send(now, 0)
    assert now == pytest.approx(give_up)


def test_silence_is_answered_with_a_few_probes_and_not_with_all_that_is_under_way() -> None:
    outbox = Outbox(("10.0.0.1", 2), Limits(), 0, MemoryUse(), Counters())
    now = 1.0
    for _ in range(40):
        outbox.queue(MessageType.TASK, bytes(100))
    under_way = len(outbox.frames_to_send(now, 0))
    assert under_way == 40
    probes = 0
    while not outbox.silent_too_long(now):
        due = outbox.next_timeout()
        assert due is not None
        now = max(now, due)
        probes += len(outbox.frames_to_send(now, 0))
    assert 2 * PROBES <= probes <= 8 * PROBES
