"""What the batching manager has in place of its list of logits processors."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from daiic.worker.engines.transformers_text.adapters import Adapters
from daiic.worker.engines.transformers_text.choosing import choose, choose_unseen
from daiic.worker.engines.transformers_text.guides import Guides
from daiic.worker.engines.transformers_text.sampling import ROWS, pack, unpack


class Sampler:
    """Chooses tokens, and notes in `stepped_at` when it last got a batch to do so.

    It makes each row's choice the largest, which is what the manager, told not
    to sample, takes. All that it needs for that goes along with the batch, in
    the manager's own tensors: so batches may be prepared while others run, and
    a step is the same whatever came before it.
    """

    tensors_required = ROWS

    def __init__(
        self,
        guides: Guides,
        on_begun: Callable[[str, int], None] = lambda name, cached: None,
        *,
        waits: bool = True,
        adapters: Adapters | None = None,
    ) -> None:
        """`on_begun` is called with a text's name and how many of its tokens were in the cache
        already, before each of the steps that read its prompt. Unless it `waits`, it needs no
        number from the device but those that the guides of texts need.
        """
        self._guides = guides
        self._adapters = adapters
        self._on_begun = on_begun
        self._guided: list[tuple[int, Any, int]] = []
        self._choose = choose if waits else choose_unseen
        self.do_processing = not waits
        self._waits = waits
        self.stepped_at = time.monotonic()

    def check_kwargs(self, kwargs: dict[str, Any]) -> None:
        """Accept what `Batch.submit` gives."""

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Let those without parameters be greedy."""
        int32_tensor.zero_()

    def prepare_tensor_args(
        self, requests_in_batch: Sequence[Any], arg_storage: torch.Tensor
    ) -> torch.Tensor:
        """Write how the texts of the next batch are drawn, in the order of its logits.

        Texts whose prompt goes on have rows of logits too, which are the last.
        """
        states = []
        for request in requests_in_batch:
            state = request.state
            if not state.generated_tokens:
                self._on_begun(state.request_id, state.position_offset - request.query_length)
            if request.has_new_token:
                states.append(state)
        if self._adapters is not None:
            # The model runs on this batch before another is prepared.
            self._adapters.begin(
                [one.state.logit_processor_kwargs["chain"] for one in requests_in_batch],
                [one.query_length for one in requests_in_batch],
            )
        samplings = [state.logit_processor_kwargs["sampling"] for state in states]
        places = [state.position_offset for state in states]
        arg_storage[:, len(states) :] = 0
        arg_storage[:, : len(states)] = pack(zip(samplings, places, strict=True))
        self._guided = [
            (row, state.logit_processor_kwargs.get("guide"), place)
            for row, (state, place) in enumerate(zip(states, places, strict=True))
        ]
        if self._waits:
            self._guides.begin(self._guided)
            # The largest is there without the sampler.
            self.do_processing = self._guides.any or any(
                sampling.temperature > 0 for sampling in samplings
            )
        self.stepped_at = time.monotonic()
        return arg_storage

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, logits_processor_args: torch.Tensor
    ) -> torch.Tensor:
        """Make the choice the largest in each row of `scores` [texts, vocabulary], in place."""
        if not self._waits:
            # Only now has the batch before this one been given to the device, and while it computes
            # this one, what that one chose can be waited for.
            self._guides.begin(self._guided)
        self._guides.apply(scores)
        self._choose(scores, unpack(logits_processor_args))
        self._guides.note(scores)
        return scores
