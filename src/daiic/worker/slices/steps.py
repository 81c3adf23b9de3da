"""How ranks take the same steps: the first tells the others what it is about to compute.

Each step is a message of whole numbers, which a rank can only follow or fail at. The cache of a
group of texts is divided as the layers are, so every rank keeps its own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from daiic.worker.engines.transformers_text.group import Group, Rows
from daiic.worker.engines.transformers_text.turns import Turns, first_state

FORWARD, DROP = 0, 1
HEAD = 6
"""Kind, number of the group, rows kept, columns of new tokens, end, and the length of the rest."""
INLINE = 122
"""Numbers that travel with the head; more follow by themselves."""


@dataclass(slots=True)
class _Told:
    number: int
    names: list[str]
    length: int


class LedTurns(Turns):
    """`Turns` on the first rank; the others `follow`."""

    def __init__(
        self, model: Any, *, on_fault: Callable[[Exception], None], **options: Any
    ) -> None:
        """`on_fault` is told in the thread when ranks no longer take the same steps: none of them
        is of use then. `options` are those of `Turns`."""
        self._on_fault = on_fault
        self._told: dict[Group, _Told] = {}
        self._groups_told = 0
        super().__init__(model, **options)

    def _run(self) -> None:
        try:
            self._work()
        except Exception as error:
            self._on_fault(error)

    def _advance(self, group: Group, end: int) -> Any:
        names = [text.name for text in group.texts]
        known = self._told.get(group)
        if known is None:
            self._groups_told += 1
            known = self._told[group] = _Told(self._groups_told, names, 0)
        kept = [known.names.index(name) for name in names]
        new = group.tokens[:, known.length :]
        rest = [*kept, *new.flatten().tolist()]
        _send([FORWARD, known.number, len(kept), new.shape[1], end], rest)
        known.names, known.length = names, group.tokens.shape[1]
        return super()._advance(group, end)

    def _gone(self, group: Group) -> None:
        super()._gone(group)
        known = self._told.pop(group, None)
        if known is not None:
            _send([DROP, known.number, 0, 0, 0], [])

    def _fail(self, group: Group, error: Exception) -> None:
        raise error


@torch.inference_mode()
def follow(model: Any) -> None:
    """Take the first rank's steps for ever.

    Raises:
        RuntimeError: when another rank is gone.
    """
    groups: dict[int, Rows] = {}
    state = first_state(model)
    while True:
        (kind, number, kept, columns, end), rest = _receive()
        if kind == DROP:
            groups.pop(number, None)
            continue
        new = torch.tensor(rest[kept:]).reshape(kept, columns).to(model.device)
        rows = groups.get(number)
        if rows is None:
            rows = groups[number] = Rows(new, dict(state))
        else:
            if kept < len(rows.tokens):
                rows.select(rest[:kept])
            rows.tokens = torch.cat([rows.tokens, new], dim=1)
        rows.advance(model, end)


def _send(head: list[int], rest: list[int]) -> None:
    inline = rest[:INLINE]
    padding = [0] * (INLINE - len(inline))
    dist.broadcast(torch.tensor([*head, len(rest), *inline, *padding]), 0)
    if len(rest) > INLINE:
        dist.broadcast(torch.tensor(rest[INLINE:]), 0)


def _receive() -> tuple[list[int], list[int]]:
    message = torch.zeros(HEAD + INLINE, dtype=torch.long)
    dist.broadcast(message, 0)
    numbers = message.tolist()
    length = numbers[HEAD - 1]
    rest = numbers[HEAD:][:length]
    if length > INLINE:
        more = torch.zeros(length - INLINE, dtype=torch.long)
        dist.broadcast(more, 0)
        rest += more.tolist()
    return numbers[: HEAD - 1], rest
