"""Changing how many samples a second a recording has, a block at a time.

Each output sample is a sum of the input around it, weighted by a sinc in a
Kaiser window (Smith, Digital Audio Resampling, ccrma.stanford.edu/~jos/resample).
Output samples lie at few different places between input samples, so a filter
for each of these is made once.
"""

from math import gcd

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

CROSSINGS = 16
"""Of zero by the sinc on each side."""
ROLLOFF = 0.95
"""Share of the frequencies that the lower of both rates can have, of those that are kept."""
BETA = 8.6
"""Of the Kaiser window; what is folded back is about 85 dB less."""
MOST_FILTERS = 640
"""11,025 Hz to 16,000 Hz takes these; rates that are in use have no more."""


def filters_between(rate: int, wanted: int) -> int:
    """Return how many filters it takes to get from `rate` to `wanted` samples a second."""
    return wanted // gcd(rate, wanted)


class Resampler:
    """Turns blocks of samples at `rate` a second into blocks at `wanted` a second."""

    def __init__(self, rate: int, wanted: int) -> None:
        self._step = rate // gcd(rate, wanted)
        filters = filters_between(rate, wanted)
        cutoff = ROLLOFF * min(1.0, wanted / rate)
        self._width = int(np.ceil(CROSSINGS / cutoff))
        places = np.arange(-self._width, self._width + self._step) - (
            np.arange(filters)[:, None] * rate / wanted
        )
        window = np.i0(BETA * np.sqrt(np.clip(1 - (places / self._width) ** 2, 0, 1))) / np.i0(BETA)
        window[np.abs(places) > self._width] = 0
        kernels = cutoff * np.sinc(cutoff * places) * window
        self._kernels = np.ascontiguousarray(kernels.T.astype(np.float32))
        self._before: Samples = np.zeros(self._width, np.float32)

    def push(self, block: Samples) -> Samples:
        """Add `block` and return what can be told by now."""
        samples = np.concatenate([self._before, block])
        steps = max(0, (len(samples) - 2 * self._width) // self._step)
        self._before = samples[steps * self._step :]
        if not steps:
            return np.zeros(0, np.float32)
        around = np.lib.stride_tricks.sliding_window_view(samples, len(self._kernels))
        made: Samples = (around[:: self._step][:steps] @ self._kernels).reshape(-1)
        return made

    def finish(self) -> Samples:
        """Return what is left, with silence after it."""
        return self.push(np.zeros(self._width + self._step, np.float32))


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """Return all of `samples`, at `rate` a second, at `wanted` a second."""
    if rate == wanted:
        return samples
    resampler = Resampler(rate, wanted)
    length = -(-len(samples) * wanted // rate)
    return np.concatenate([resampler.push(samples), resampler.finish()])[:length]
