"""The adapters of a model, and which texts of a step each of them changes.

A layer's output for a token gets more only from the adapters of the token's own
text, so that texts with different adapters, and with none, share a batch.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import torch
from torch.nn.functional import linear

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.asked_adapters import scales_of
from daiic.worker.engines.transformers_text.adapted_cache import MOST
from daiic.worker.engines.transformers_text.lora_file import Lora, bytes_of, read_lora
from daiic.worker.models.adapters import adapters_beside

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Chain:
    """The adapters of one text, each with its scale, and a `number` for what shares its keys.

    It is 0 for no adapters, and above `MOST` for what shares nothing.
    """

    scales: tuple[tuple[str, float], ...] = ()
    number: int = 0

    def __bool__(self) -> bool:
        return bool(self.scales)


PLAIN = Chain()
Rows = list[tuple[str, float, list[int]]]
"""Which rows of a step each adapter changes, with which scale."""


class Adapters:
    """Those of one model. Its layers ask them, in the thread that has begun a step."""

    def __init__(self, model: Any, loras: Mapping[str, Lora], unusable: Mapping[str, str]) -> None:
        """`unusable` says what is wrong with adapters that are beside the model all the same."""
        self.names = tuple(sorted(loras))
        self.bytes = sum(map(bytes_of, loras.values()))
        self._loras = loras
        self._unusable = unusable
        self._numbers: dict[tuple[tuple[str, float], ...], int] = {}
        self._step = threading.local()
        changed = {name for lora in loras.values() for name in lora}
        for name, module in model.named_modules():
            if name in changed:
                module.register_forward_hook(self._hook(name))

    def chain(self, asked: Sequence[pb.Adapter]) -> Chain:
        """Return the adapters that a task has `asked` for.

        Raises:
            TaskError: MODEL_NOT_FOUND for one that is not there, BAD_REQUEST for one that cannot
                be used, or a scale that is no number.
        """
        key = tuple(scales_of(asked, self.names, self._unusable).items())
        return Chain(key, self._number(key)) if key else PLAIN

    def _number(self, key: tuple[tuple[str, float], ...]) -> int:
        """Return the number of a chain: there are more scales than numbers to remember."""
        if key not in self._numbers and len(self._numbers) == MOST:
            return MOST + 1
        return self._numbers.setdefault(key, len(self._numbers) + 1)

    def begin(self, chains: Sequence[Chain], lengths: Sequence[int] | None = None) -> None:
        """Begin a step of texts with these `chains`, in this thread, until the next one.

        Of each there are `lengths` tokens, one after the other; without, each has an equal part.
        """
        rows: dict[tuple[str, float], list[int]] = {}
        for row, chain in enumerate(chains):
            for one in chain.scales:
                rows.setdefault(one, []).append(row)
        if not rows:
            self._step.mix = None
            return
        whole = [(name, scale, members) for (name, scale), members in rows.items()]
        self._step.mix = _Mix(whole, len(chains), lengths)

    def _hook(self, layer: str) -> Any:
        def more(module: Any, given: tuple[torch.Tensor, ...], output: torch.Tensor) -> Any:
            mix: _Mix | None = getattr(self._step, "mix", None)
            if mix is None:
                return None
            states = given[0].reshape(-1, given[0].shape[-1])
            changed = output.reshape(-1, output.shape[-1])
            for name, scale, members in mix.rows:
                pair = self._loras[name].get(layer)
                if pair is None or not scale:
                    continue
                where = mix.tokens(members, len(states), states.device)
                part = states if where is None else states.index_select(0, where)
                down, up = pair.down.to(part.device), pair.up.to(part.device)
                delta = linear(linear(part.to(down.dtype), down), up) * scale
                delta = delta.to(changed.dtype)
                changed = changed + delta if where is None else changed.index_add(0, where, delta)
            return changed.reshape(output.shape)

        return more


class _Mix:
    """Which tokens of one step belong to which rows."""

    def __init__(self, rows: Rows, count: int, lengths: Sequence[int] | None) -> None:
        self.rows = rows
        self._count = count
        self._lengths = lengths
        self._places: dict[tuple[int, int], torch.Tensor | None] = {}

    def tokens(self, members: list[int], total: int, device: torch.device) -> torch.Tensor | None:
        """Return where the tokens of the rows `members` are among `total`; `None` for all."""
        key = id(members), total
        if key not in self._places:
            self._places[key] = self._found(members, total, device)
        where = self._places[key]
        return where if where is None else where.to(device)

    def _found(self, members: list[int], total: int, device: torch.device) -> torch.Tensor | None:
        lengths = self._lengths or [total // self._count] * self._count
        if sum(lengths) > total or (self._lengths is None and sum(lengths) != total):
            raise RuntimeError(f"a layer sees {total} tokens of a step, and not {sum(lengths)}")
        if len(members) == self._count and sum(lengths) == total:
            return None
        starts = [0]
        for length in lengths:
            starts.append(starts[-1] + length)
        places = [place for row in members for place in range(starts[row], starts[row + 1])]
        return torch.tensor(places, dtype=torch.long, device=device)


def load_adapters(path: Path, model: Any) -> Adapters | None:
    """Return the adapters beside the `model` that was loaded from `path`, `None` without any.

    Those that cannot be used are left out, and the log says why.
    """
    loras: dict[str, Lora] = {}
    unusable: dict[str, str] = {}
    for name, folder in adapters_beside(path, pb.TEXT).items():
        try:
            loras[name] = read_lora(folder, model)
        except TaskError as error:
            unusable[name] = error.message
            log.warning("an adapter cannot be used", adapter=name, reason=error.message)
    return Adapters(model, loras, unusable) if loras or unusable else None
