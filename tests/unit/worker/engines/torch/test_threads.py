"""As many threads compute as are fastest, whatever else the machine does meanwhile."""

import pytest

from daiic.worker.engines.torch.threads import WITHIN, candidates, fastest


class Machine:
    """Steps take the seconds in `takes`, by threads; number `disturbed` takes ten times that."""

    def __init__(self, takes: dict[int, float], disturbed: int = -1) -> None:
        self.takes, self.disturbed = takes, disturbed
        self.now = 0.0
        self.steps: list[int] = []

    def step(self, threads: int) -> None:
        slow = 10 if len(self.steps) == self.disturbed else 1
        self.steps.append(threads)
        self.now += self.takes[threads] * slow

    def fastest(self) -> int:
        return fastest(self.step, list(self.takes), lambda: self.now)


@pytest.mark.parametrize(
    ("most", "numbers"), [(1, [1]), (2, [2, 1]), (6, [6, 4, 2, 1]), (8, [8, 4, 2, 1])]
)
def test_all_cores_and_powers_of_two_below_are_tried(most: int, numbers: list[int]) -> None:
    assert candidates(most) == numbers


@pytest.mark.parametrize("best", [4, 2, 1])
def test_the_fastest_number_is_taken(best: int) -> None:
    machine = Machine({number: 0.01 + 0.01 * abs(number - best) for number in (4, 2, 1)})
    assert machine.fastest() == best


def test_more_threads_are_taken_where_fewer_are_no_faster() -> None:
    assert Machine({2: 0.01, 1: 0.01}).fastest() == 2
    assert Machine({2: 0.01, 1: 0.0095}).fastest() == 2
    assert Machine({2: 0.01, 1: 0.0085}).fastest() == 1


@pytest.mark.parametrize("disturbed", range(8))
def test_a_step_that_was_disturbed_does_not_decide(disturbed: int) -> None:
    assert Machine({2: 0.01, 1: 0.02}, disturbed).fastest() == 2


def test_trying_is_over_after_a_second_or_a_step_with_each() -> None:
    quick = Machine({2: 0.01, 1: 0.01})
    quick.fastest()
    assert quick.now < WITHIN + 0.1
    slow = Machine({4: 5.0, 2: 6.0, 1: 7.0})
    assert slow.fastest() == 4
    assert slow.steps == [4, 4, 2, 1]


def test_one_core_needs_no_trial() -> None:
    machine = Machine({1: 1.0})
    assert machine.fastest() == 1 and not machine.steps
