"""What a task asks of chance, and how that goes along with a batch: as numbers in one tensor."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from daiic.worker.engines.transformers_text.noise import key

ROWS = 5
"""Of an int32 tensor, which say how a token is drawn: two of a key, top_k, temperature, top_p."""

_INT32_MOST = (1 << 31) - 1


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a task's tokens are chosen: temperature 0 is greedy, top_k 0 and top_p 1 cut nothing."""

    temperature: float
    top_k: int
    top_p: float
    seed: int


@dataclass(frozen=True, slots=True)
class Chances:
    """How the next tokens of several texts are drawn: columns of parameters, each [texts, 1]."""

    keys: torch.Tensor
    top_k: torch.Tensor
    temperature: torch.Tensor
    top_p: torch.Tensor

    @property
    def drawn(self) -> torch.Tensor:
        """Which are drawn at all; the others are greedy."""
        return self.temperature > 0

    @property
    def cut(self) -> torch.Tensor:
        """Which are drawn from some of the likeliest tokens only."""
        return self.drawn & ((self.top_k > 0) | (self.top_p < 1))

    def of(self, rows: torch.Tensor) -> "Chances":
        """Return those of the texts whose indices are `rows`."""
        return Chances(self.keys[rows], self.top_k[rows], self.temperature[rows], self.top_p[rows])


def pack(tasks: Iterable[tuple[Sampling, int]]) -> torch.Tensor:
    """Return int32 [ROWS, texts] for the parameters of each text and the place of its next token.

    A column of zeros is that of a greedy text.
    """
    wanted = list(tasks)
    keys = [key(sampling.seed, position) for sampling, position in wanted]
    most = [min(sampling.top_k, _INT32_MOST) for sampling, _ in wanted]
    shares = [[s.temperature for s, _ in wanted], [s.top_p for s, _ in wanted]]
    return torch.cat(
        [
            torch.tensor(keys, dtype=torch.int64).view(torch.int32).reshape(len(keys), 2).T,
            torch.tensor([most], dtype=torch.int32),
            torch.tensor(shares, dtype=torch.float32).view(torch.int32),
        ]
    )


def unpack(packed: torch.Tensor) -> Chances:
    """Return what `pack` was given, wherever the tensor is now."""
    columns = packed.T[:, :, None]
    shares = columns[:, 3:].contiguous().view(torch.float32)
    return Chances(
        keys=torch.stack([packed[0], packed[1]], dim=-1).view(torch.int64),
        top_k=columns[:, 2].long(),
        temperature=shares[:, 0],
        top_p=shares[:, 1],
    )
