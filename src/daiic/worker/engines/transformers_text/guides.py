"""The guides of all texts in one step. Their masks are computed while the model runs."""

import math
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import Future

import torch
from llguidance import LLExecutor

from daiic.worker.engines.one_thread import OneThread
from daiic.worker.engines.transformers_text.guide import Guide, Later, Told

_WORD = 32
_BITS = 8
MOST_THREADS = 8

Place = tuple[int, Guide, int]
"""A row of scores, its guide, and the place in its text of the token that is chosen by them."""


class Guides:
    """Those of the rows of one step after the other; rows without any pay nothing."""

    def __init__(self) -> None:
        self._places: list[Place] = []
        self._masks: Future[torch.Tensor] | None = None
        self._masked: list[Place] = []
        self._asked: list[Place] = []
        self._told: Told | None = None
        self._thread: OneThread | None = None
        self._executor: LLExecutor | None = None

    @property
    def any(self) -> bool:
        """Whether a row of this step has a guide."""
        return bool(self._places)

    def begin(self, places: Iterable[tuple[int, Guide | None, int]], vocabulary: int) -> None:
        """Begin a step, before which the tokens before each place were chosen.

        Masks for so many tokens of a `vocabulary` are computed from now on.
        """
        self._places = [(row, guide, place) for row, guide, place in places if guide]
        for _, guide, place in self._places:
            guide.reach(place)
        self._masks = None
        self._masked = [one for one in self._places if one[1].matcher is not None]
        if not self._masked:
            return
        if self._thread is None:
            self._thread = OneThread("masks")
        guides = [guide for _, guide, _ in self._masked]
        self._masks = self._thread.submit(lambda: self._computed(guides, vocabulary))

    def apply(self, scores: torch.Tensor) -> None:
        """Let only what may follow be chosen, in `scores` [texts, vocabulary]."""
        self._asked = [one for one in self._places if one[1].rules.logprobs is not None]
        if self._asked:
            most = max(guide.rules.logprobs or 0 for _, guide, _ in self._asked)
            self._told = Told(scores[_rows(self._asked, scores)], most)
        for row, guide, _ in self._places:
            if guide.penalties is not None:
                guide.penalties.apply(scores[row])
        if self._masks is not None:
            rows = _rows(self._masked, scores)
            masks = self._masks.result().to(scores.device, non_blocking=True)
            forbidden = _unpacked(masks, scores.shape[1]).logical_not_()
            scores[rows] = scores[rows].masked_fill_(forbidden, -torch.inf)
        for row, guide, _ in self._places:
            if guide.rules.farthest < math.inf:
                least = scores[row].max() - guide.rules.farthest
                scores[row].masked_fill_(scores[row] < least, -torch.inf)

    def note(self, scores: torch.Tensor) -> None:
        """Take what is the largest in each row as what was chosen."""
        if not self._places:
            return
        largest = scores[_rows(self._places, scores)].argmax(-1)
        chosen = Later(largest)
        for row, (_, guide, place) in enumerate(self._places):
            guide.made(place, chosen, row)
        if self._told is not None:
            rules = [guide.rules for _, guide, _ in self._places]
            asked = [row for row, one in enumerate(rules) if one.logprobs is not None]
            self._told.choose(largest[asked])
            for row, (_, guide, place) in enumerate(self._asked):
                guide.told(place, self._told, row)
            self._told = None

    def stop(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.stop()

    def _computed(self, guides: Sequence[Guide], vocabulary: int) -> torch.Tensor:
        """Return int32 [guides, words], a bit for each token; a guide that fails has its end."""
        if self._executor is None:
            processors = len(os.sched_getaffinity(0))
            self._executor = LLExecutor(num_threads=min(max(processors // 2, 1), MOST_THREADS))
        words = -(-vocabulary // _WORD)
        masks = torch.zeros((len(guides), words), dtype=torch.int32)
        self._executor.unsafe_compute_mask_ptr(
            [(guide.matcher, number) for number, guide in enumerate(guides)],
            masks.data_ptr(),
            words * masks.element_size(),
            len(guides),
        )
        for guide in guides:
            if not guide.error and guide.matcher.is_error():
                guide.error = str(guide.matcher.get_error())
        return masks


def _rows(places: Sequence[Place], scores: torch.Tensor) -> torch.Tensor:
    return torch.tensor([row for row, _, _ in places], device=scores.device)


def _unpacked(masks: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Return bool [rows, vocabulary] of int32 `masks`, the lowest bit of the first word first."""
    bits = torch.bitwise_left_shift(
        torch.ones(_BITS, dtype=torch.uint8, device=masks.device),
        torch.arange(_BITS, dtype=torch.uint8, device=masks.device),
    )
    unpacked = (masks.view(torch.uint8).unsqueeze(-1) & bits).bool().flatten(1)
    missing = vocabulary - unpacked.shape[1]
    if missing > 0:
        return torch.nn.functional.pad(unpacked, (0, missing))
    return unpacked[:, :vocabulary]
