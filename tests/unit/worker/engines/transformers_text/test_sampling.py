"""The sampler draws what the parameters say, each row by its own."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import TopKLogitsWarper, TopPLogitsWarper

from daiic.worker.engines.transformers_text.sampling import CANDIDATES, Sampler, Sampling

VOCABULARY = 1500


@dataclass
class State:
    logit_processor_kwargs: dict[str, Any]
    initial_tokens: list[int] = field(default_factory=list)
    generated_tokens: list[int] = field(default_factory=list)
    request_id: str = "0"
    position_offset: int = 1


@dataclass
class Request:
    state: State
    has_new_token: bool = True
    query_length: int = 1


def draw(
    logits: torch.Tensor, samplings: Sequence[Sampling], positions: Sequence[int] | None = None
) -> list[int]:
    """Return the token chosen in each row."""
    sampler = Sampler(torch.device("cpu"))
    places = positions or [10] * len(samplings)
    requests = [
        Request(State({"sampling": sampling}, initial_tokens=[0] * place))
        for sampling, place in zip(samplings, places, strict=True)
    ]
    sampler.prepare_tensor_args(requests_in_batch=requests, arg_storage=torch.empty(0))
    scores = sampler(torch.empty(0), logits.clone(), torch.empty(0))
    return scores.argmax(-1).tolist()


def logits(rows: int, spread: float = 3.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(rows)
    return torch.randn(rows, VOCABULARY, generator=generator) * spread


def test_temperature_zero_is_greedy() -> None:
    table = logits(5)
    assert draw(table, [Sampling(0.0, 40, 0.5, seed) for seed in range(5)]) == (
        table.argmax(-1).tolist()
    )


SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    top_k=st.sampled_from([0, 1, 7, 50, 1499, 100_000]),
    top_p=st.sampled_from([0.01, 0.3, 0.9, 0.999, 1.0]),
    seed=st.integers(0, 2**64 - 1),
)


@settings(deadline=None, max_examples=40)
@given(st.lists(SAMPLINGS, min_size=1, max_size=12))
def test_a_row_is_drawn_the_same_alone_and_among_others(samplings: list[Sampling]) -> None:
    table = logits(len(samplings))
    together = draw(table, samplings)
    alone = [draw(table[row : row + 1], [s])[0] for row, s in enumerate(samplings)]
    assert together == alone


def allowed(row: torch.Tensor, sampling: Sampling) -> set[int]:
    """Return what transformers' own warpers leave."""
    scores = (row / sampling.temperature).unsqueeze(0)
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    return set(scores[0].isfinite().nonzero().flatten().tolist())


@settings(deadline=None, max_examples=25)
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


def test_rows_whose_prompt_is_not_all_read_yet_have_no_logits() -> None:
    sampler = Sampler(torch.device("cpu"))
    first, second = Sampling(1.0, 0, 1.0, 1), Sampling(1.0, 0, 1.0, 2)
    requests = [
        Request(State({"sampling": first}), has_new_token=False, query_length=500),
        Request(State({"sampling": second})),
    ]
    sampler.prepare_tensor_args(requests_in_batch=requests, arg_storage=torch.empty(0))
    table = logits(2)
    chosen = sampler(torch.empty(0), table.clone(), torch.empty(0)).argmax(-1)[0].item()
    assert [chosen] == draw(table[:1], [second], [0])


def test_the_place_of_a_token_counts_and_not_how_it_got_there() -> None:
    table = logits(1)
    sampling = Sampling(1.0, 0, 1.0, 5)
    resumed = State({"sampling": sampling}, initial_tokens=[0] * 17)
    running = State({"sampling": sampling}, initial_tokens=[0] * 10, generated_tokens=[0] * 7)
    chosen = []
    for state in (resumed, running):
        sampler = Sampler(torch.device("cpu"))
        sampler.prepare_tensor_args(requests_in_batch=[Request(state)], arg_storage=torch.empty(0))
        chosen.append(sampler(torch.empty(0), table.clone(), torch.empty(0)).argmax().item())
    assert chosen[0] == chosen[1]
