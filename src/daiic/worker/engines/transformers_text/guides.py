"""The guides of all texts in one step. Their masks are computed while the model runs."""

import math
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from functools import partial

import torch

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
        self._masks: torch.Tensor | None = None
        self._work: list[Future[None]] = []
        self._masked: list[Place] = []
        self._asked: list[Place] = []
        self._told: Told | None = None
        self._threads: list[OneThread] = []

    @property
    def any(self) -> bool:
        """Whether a row of this step has a guide."""
        return bool(self._places)

    def begin(self, places: Iterable[tuple[int, Guide | None, int]]) -> None:
        """Begin a step, before which the tokens before each place were chosen.

        Masks are computed from now on.
        """
        self._places = [(row, guide, place) for row, guide, place in places if guide]
        for _, guide, place in self._places:
            guide.reach(place)
        self._masks = None
        # Those that failed go on until they are cancelled: nobody gets what they make.
        self._masked = [one for one in self._places if one[1].is_held]
        if not self._masked:
            return
        if not self._threads:
            processors = len(os.sched_getaffinity(0))
            count = min(max(processors // 2, 1), MOST_THREADS)
            self._threads = [OneThread("masks") for _ in range(count)]
        guides = [guide for _, guide, _ in self._masked]
        words = -(-max(guide.vocabulary for guide in guides) // _WORD)
        masks = torch.zeros((len(guides), words), dtype=torch.int32)
        self._masks = masks
        self._work = [
            thread.submit(
                partial(_fill, masks, guides, range(first, len(guides), len(self._threads)))
            )
            for first, thread in enumerate(self._threads[: len(guides)])
        ]

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
            for work in self._work:
                work.result()
            rows = _rows(self._masked, scores)
            masks = self._masks.to(scores.device, non_blocking=True)
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
        """End the threads."""
        for thread in self._threads:
            thread.stop()


def _fill(masks: torch.Tensor, guides: Sequence[Guide], which: Iterable[int]) -> None:
    """Set in `masks` [guides, words] the bits of what may follow in `which` of the texts.

    A text that cannot go on may only end.
    """
    for number in which:
        guide, mask = guides[number], masks[number]
        begun = time.thread_time()
        guide.matcher.unsafe_compute_mask_ptr(mask.data_ptr(), mask.nbytes)
        guide.spend(time.thread_time() - begun)


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
