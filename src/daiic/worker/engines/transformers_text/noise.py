"""Random numbers that depend on a task's seed and a token's place, and on nothing else.

Sampling is argmax(logits / T + G) with Gumbel noise G (Maddison et al., A*
Sampling, 2014): as good as drawing from the softmax, and since no state is
kept, a worker that takes a task over in the middle goes on with the same
numbers. Noise comes from SplitMix64 (Steele, Lea and Flood, Fast Splittable
Pseudorandom Number Generators, 2014) used as a counter-based generator: the
key is hashed from seed and position, the counter is the token id.
"""

import torch

_MASK = (1 << 64) - 1
_GAMMA = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB
_BITS = 23


def key(seed: int, position: int) -> int:
    """Return the generator's key, signed as int64, for the token at `position` under `seed`."""
    return _signed(_mix(_mix(seed & _MASK) + position * _GAMMA & _MASK))


def gumbel(keys: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """Return standard Gumbel noise, float32, for int64 `keys` and `tokens`, broadcast together."""
    state = tokens * _signed(_GAMMA) + keys
    state ^= _shifted(state, 30)
    state *= _signed(_FIRST)
    state ^= _shifted(state, 27)
    state *= _signed(_SECOND)
    # 23 bits and a half are exact in float32, and never 0 or 1.
    uniform = _shifted(state, 64 - _BITS).to(torch.float32).add_(0.5).mul_(2.0**-_BITS)
    return uniform.log_().neg_().log_().neg_()


def _mix(state: int) -> int:
    state = (state ^ state >> 30) * _FIRST & _MASK
    state = (state ^ state >> 27) * _SECOND & _MASK
    return state ^ state >> 31


def _shifted(state: torch.Tensor, bits: int) -> torch.Tensor:
    """Shift right without the sign, which torch's shift would bring along."""
    return (state >> bits).bitwise_and_((1 << 64 - bits) - 1)


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
