"""Guessing ahead goes on only where it saves time."""

from pathlib import Path

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.speculation import ENOUGH, Speculation


def guessing(accepted: float, backend: pb.Backend = pb.CPU, draft: str = "") -> Speculation:
    found = Speculation(backend, Path(draft) if draft else None, 0.1 if draft else 0.0)
    found.count({"draft_n": ENOUGH, "draft_n_accepted": round(accepted * ENOUGH)})
    return found


def test_it_is_not_judged_by_its_first_guesses() -> None:
    speculation = Speculation(pb.CPU)
    speculation.count({"draft_n": ENOUGH - 1, "draft_n_accepted": 0})
    assert speculation.pays
    speculation.count({"draft_n": 1})
    assert not speculation.pays


@pytest.mark.parametrize(
    ("backend", "draft", "enough", "too_few"),
    [
        (pb.CPU, "", 0.3, 0.2),
        (pb.CPU, "draft.gguf", 0.75, 0.65),
        (pb.CUDA, "", 0.1, 0.02),
        (pb.CUDA, "draft.gguf", 0.25, 0.15),
    ],
)
def test_a_guess_must_be_right_as_often_as_checking_it_costs(
    backend: pb.Backend, draft: str, enough: float, too_few: float
) -> None:
    assert guessing(enough, backend, draft).pays
    assert not guessing(too_few, backend, draft).pays


def test_answers_without_guesses_change_nothing() -> None:
    speculation = Speculation(pb.CPU)
    speculation.count({"predicted_n": 20})
    assert speculation.told() == pb.Speculation()
