"""Noise is a function of seed, position and token, and is Gumbel noise."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from daiic.worker.engines.transformers_text.noise import gumbel, key

SEEDS = st.integers(0, 2**64 - 1)
POSITIONS = st.integers(0, 2**20)


def noise(seed: int, position: int, tokens: torch.Tensor) -> torch.Tensor:
    return gumbel(torch.tensor([[key(seed, position)]]), tokens)


@given(SEEDS, POSITIONS)
def test_a_tokens_noise_does_not_depend_on_the_tokens_beside_it(seed: int, position: int) -> None:
    everything = noise(seed, position, torch.arange(1000))
    some = torch.tensor([[999, 3, 500]])
    assert torch.equal(noise(seed, position, some), everything[:, some[0]])


@given(SEEDS, POSITIONS)
def test_every_number_is_finite(seed: int, position: int) -> None:
    assert noise(seed, position, torch.arange(5000)).isfinite().all()


def test_seed_zero_and_position_zero_are_like_any_other() -> None:
    drawn = noise(0, 0, torch.arange(10_000))
    assert abs(drawn.mean() - 0.5772) < 0.05


def test_neighbouring_seeds_and_positions_are_unrelated() -> None:
    tokens = torch.arange(20_000)
    rows = torch.cat([noise(seed, at, tokens) for seed in (1, 2) for at in (5, 6)])
    correlation = torch.corrcoef(rows) - torch.eye(4)
    assert correlation.abs().max() < 0.03


def test_noise_has_the_gumbel_distribution() -> None:
    drawn = noise(42, 7, torch.arange(200_000)).flatten().sort().values
    expected = torch.exp(-torch.exp(-drawn))
    measured = torch.linspace(0, 1, len(drawn))
    assert (measured - expected).abs().max() < 0.005  # Kolmogorov-Smirnov, 99.9 % at 0.0044


def mixed(state: int) -> int:
    """Return the output of SplitMix64 for `state`."""
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
    return state ^ (state >> 31)


@given(SEEDS, POSITIONS, st.integers(0, 300_000))
def test_workers_of_any_kind_draw_the_same_numbers(seed: int, position: int, token: int) -> None:
    golden = 0x9E3779B97F4A7C15
    stream = mixed((mixed(seed) + position * golden) % 2**64)
    uniform = ((mixed((stream + token * golden) % 2**64) >> 41) + 0.5) / 2**23
    drawn = noise(seed, position, torch.tensor([[token]])).item()
    assert math.isclose(drawn, -math.log(-math.log(uniform)), rel_tol=1e-4, abs_tol=1e-4)
