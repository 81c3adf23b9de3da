"""The sampler draws what the parameters say, each row by its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TopKLogitsWarper, TopPLogitsWarper

from daiic.worker.engines.transformers_text.choosing import CANDIDATES, choose, choose_unseen
from daiic.worker.engines.transformers_text.guides import Guides
from daiic.worker.engines.transformers_text.sampler import Sampler
from daiic.worker.engines.transformers_text.sampling import (
    ROWS,
    Chances,
    Sampling,
    pack,
    unpack,
)

VOCABULARY = 1500


@dataclass
class State:
    logit_processor_kwargs: dict[str, Any]
    generated_tokens: list[int] = field(default_factory=list)
    request_id: str = "0"
    position_offset: int = 1


@dataclass
class Request:
    state: State
    has_new_token: bool = True
    query_length: int = 1


Way = Callable[[torch.Tensor, Chances], None]


def draw(
    logits: torch.Tensor,
    samplings: Sequence[Sampling],
    positions: Sequence[int] | None = None,
    way: Way = choose,
) -> list[int]:
    """Return the token chosen in each row."""
    places = positions or [10] * len(samplings)
    scores = logits.clone()
    way(scores, unpack(pack(zip(samplings, places, strict=True))))
    return scores.argmax(-1).tolist()


def drawn_by(sampler: Sampler, requests: Sequence[Request], table: torch.Tensor) -> list[int]:
    """Return the token chosen in each row by what the manager calls."""
    storage = torch.full((ROWS, 32), -1, dtype=torch.int32)
    sampler.prepare_tensor_args(requests_in_batch=requests, arg_storage=storage)
    scores = sampler(torch.empty(0), table.clone(), storage[:, : len(requests)])
    return scores.argmax(-1).tolist()


def logits(rows: int, spread: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows)
    return torch.randn(rows, VOCABULARY, generator=generator) * spread


@pytest.mark.parametrize("way", [choose, choose_unseen])
def test_temperature_zero_is_greedy(way: Way) -> None:
    table = logits(5)
    assert draw(table, [Sampling(0.0, 40, 0.5, seed) for seed in range(5)], way=way) == (
        table.argmax(-1).tolist()
    )


SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.sampled_from([0, 1, 7, 50, 1499, 100_000]),
    top_p=st.sampled_from([0.01, 0.3, 0.9, 0.999, 1.0]),
    seed=st.integers(0, 2**64 - 1),
)


@settings(max_examples=40)
@given(st.lists(SAMPLINGS, min_size=1, max_size=12))
def test_a_row_is_drawn_the_same_alone_and_among_others(samplings: list[Sampling]) -> None:
    table = logits(len(samplings))
    together = draw(table, samplings)
    alone = [draw(table[row : row + 1], [s])[0] for row, s in enumerate(samplings)]
    assert together == alone


@settings(max_examples=60)
@given(st.lists(SAMPLINGS, min_size=1, max_size=12), st.integers(0, 1 << 20))
def test_the_way_that_looks_at_nothing_chooses_the_same(
    samplings: list[Sampling], place: int
) -> None:
    table = logits(len(samplings))
    places = [place + row for row in range(len(samplings))]
    unseen = draw(table, samplings, places, choose_unseen)
    assert unseen == draw(table, samplings, places)


def test_nothing_of_it_has_to_be_known_before_it_is_computed() -> None:
    # Tensors on `meta` have no numbers: whoever asks for one fails, as a recorded step would.
    packed = pack([(Sampling(0.7, 40, 0.9, 1), 5), (Sampling(1.0, 0, 1.0, 2), 6)]).to("meta")
    with torch.device("meta"):
        choose_unseen(logits(2).to("meta"), unpack(packed))
        with pytest.raises((RuntimeError, NotImplementedError)):
            choose(logits(2).to("meta"), unpack(packed))


def allowed(row: torch.Tensor, sampling: Sampling) -> set[int]:
    """Return what transformers' own warpers leave."""
    scores = (row / sampling.temperature).unsqueeze(0)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    return set(scores[0].isfinite().nonzero().flatten().tolist())


@settings(max_examples=25)
@given(SAMPLINGS.filter(lambda sampling: sampling.temperature > 0))
def test_only_tokens_that_top_k_and_top_p_leave_are_drawn(sampling: Sampling) -> None:
    row = logits(1)[0]
    places = list(range(200))
    drawn = draw(row.expand(200, -1), [sampling] * 200, places)
    assert set(drawn) <= allowed(row, sampling)


def test_top_p_alone_looks_beyond_the_first_candidates_when_the_text_is_that_open() -> None:
    flat = torch.linspace(0, 0.1, VOCABULARY).expand(400, -1)
    drawn = draw(flat, [Sampling(1.0, 0, 0.95, seed) for seed in range(400)])
    rank = [VOCABULARY - 1 - token for token in drawn]
    assert max(rank) > CANDIDATES
    assert max(rank) < 0.97 * VOCABULARY


def test_tokens_come_as_often_as_their_probability_says() -> None:
    row = torch.full((VOCABULARY,), -20.0)
    probability = torch.tensor([0.5, 0.25, 0.15, 0.1])
    row[:4] = probability.log()
    for top_k in (0, 4):
        times = 8_000
        drawn = torch.tensor(
            draw(row.expand(times, -1), [Sampling(1.0, top_k, 1.0, 9)] * times, range(times))
        )
        share = torch.bincount(drawn, minlength=4)[:4] / times
        assert torch.allclose(share, probability, atol=0.02), share


@pytest.mark.parametrize("waits", [True, False])
def test_rows_whose_prompt_is_not_all_read_yet_have_no_logits(waits: bool) -> None:
    first, second = Sampling(1.0, 0, 1.0, 1), Sampling(1.0, 0, 1.0, 2)
    requests = [
        Request(State({"sampling": first}), has_new_token=False, query_length=500),
        Request(State({"sampling": second}, position_offset=9)),
    ]
    table = logits(2)
    chosen = drawn_by(Sampler(Guides(), waits=waits), requests, table)
    assert chosen[:1] == draw(table[:1], [second], [9])
    assert chosen[1] == table[1].argmax()  # what an earlier batch left is gone


@pytest.mark.parametrize("waits", [True, False])
def test_the_place_of_a_token_counts_and_not_how_it_got_there(waits: bool) -> None:
    table = logits(1)
    sampling = {"sampling": Sampling(1.0, 0, 1.0, 5)}
    resumed = State(sampling, position_offset=17)
    running = State(sampling, generated_tokens=[0] * 7, position_offset=17)
    behind = State(sampling, generated_tokens=[0] * 6, position_offset=17)
    chosen = [
        drawn_by(Sampler(Guides(), waits=waits), [Request(state)], table)
        for state in (resumed, running, behind)
    ]
    assert chosen == [draw(table, [sampling["sampling"]], [17])] * 3


def test_a_step_is_drawn_by_what_goes_along_with_it_whatever_is_prepared_meanwhile() -> None:
    sampler = Sampler(Guides(), waits=False)
    table, storage = logits(2), torch.zeros(2, ROWS, 8, dtype=torch.int32)
    wanted = [[Sampling(1.0, 0, 0.9, seed), Sampling(0.8, 20, 1.0, seed)] for seed in (1, 2)]
    for step, samplings in enumerate(wanted):
        requests = [Request(State({"sampling": one}, position_offset=4)) for one in samplings]
        sampler.prepare_tensor_args(requests_in_batch=requests, arg_storage=storage[step])
    for step, samplings in enumerate(wanted):
        scores = sampler(torch.empty(0), table.clone(), storage[step, :, :2])
        assert scores.argmax(-1).tolist() == draw(table, samplings, [4, 4])
