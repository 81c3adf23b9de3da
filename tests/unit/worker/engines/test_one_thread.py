"""The thread that an image engine computes in."""

import threading

import pytest

from daiic.worker.engines.one_thread import OneThread


def test_work_runs_in_order_and_in_one_thread():
    thread = OneThread("t")
    seen = []
    futures = [
        thread.submit(lambda i=i: seen.append((i, threading.get_ident()))) for i in range(50)
    ]
    thread.stop()
    for future in futures:
        future.result(timeout=5)
    assert [i for i, _ in seen] == list(range(50))
    assert len({ident for _, ident in seen}) == 1


def test_a_failure_reaches_its_caller_and_no_other():
    thread = OneThread("t")
    failing = thread.submit(lambda: 1 / 0)
    fine = thread.submit(lambda: 7)
    thread.stop()
    with pytest.raises(ZeroDivisionError):
        failing.result(timeout=5)
    assert fine.result(timeout=5) == 7


def test_work_that_was_given_up_before_its_turn_does_not_run():
    thread = OneThread("t")
    gate = threading.Event()
    ran = []
    thread.submit(gate.wait)
    given_up = thread.submit(lambda: ran.append("given up"))
    last = thread.submit(lambda: ran.append("last"))
    assert given_up.cancel()
    gate.set()
    last.result(timeout=5)
    thread.stop()
    assert ran == ["last"]
