"""A conversation with images as a model reads it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

TYPES = ("token_type_ids", "mm_token_type_ids")
"""Inputs that tell for each token what it stands for; 0 is a text."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Its `tokens`, placeholders of images among them, and all that the model's first step takes.

    `inputs` are the processor's: pixels, sizes, and what each token stands for.
    """

    tokens: list[int]
    inputs: Mapping[str, torch.Tensor]

    def first_state(self, model: Any, tokens: torch.Tensor) -> dict[str, Any]:
        """Return the arguments of the step in which `model` reads `tokens`, [1, length].

        They begin with its own, and go on with what was said after them.
        """
        state: dict[str, Any] = {}
        for name, value in self.inputs.items():
            if name in TYPES:
                said = value.new_zeros(1, tokens.shape[1] - len(self.tokens))
                value = torch.cat([value, said], dim=1)
            if value.is_floating_point():
                value = value.to(model.dtype)
            state[name] = value.to(model.device)
        # Some models count the places of an image's parts in rows and columns, and must not
        # remember from step to step where they are: other texts come in between.
        state["position_ids"] = model._prepare_position_ids_for_generation(tokens, state)
        return state
