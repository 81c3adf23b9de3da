"""Which slot of a llama-server a task gets, and which ones have to forget what they have read.

A slot keeps what it has computed of its last prompt and answer. All slots share one cache, and when
that is full llama-server has the first slot forget that has nothing to do (`try_clear_idle_slots`
in its server-context.cpp), however often it was of use: two chats in the first slots displaced each
other for ever while prompts that nobody asked for again stayed in the last ones. So it is
the worker that chooses: the slot that has the most of the prompt, else an empty one, else the one
that was used least recently; and those used least recently forget before room runs out.
"""

from dataclasses import dataclass

COMPARED = 1 << 20
"""Bytes of a prompt's beginning by which it is told from others."""
SIMILAR = 0.1
"""Share of a prompt that a slot must have to be preferred, as llama-server has it by default."""


@dataclass(slots=True, eq=False)
class Slot:
    """A slot, which has `held` tokens of the cache, at least nearly.

    `prompt` is what they were made of, in bytes that are alike for prompts which are. `taken` while
    a task has it, `used` orders slots by when one last had.
    """

    number: int
    prompt: bytes = b""
    held: int = 0
    taken: bool = False
    used: int = 0


class Slots:
    """The slots of one llama-server, whose cache has so many `tokens`."""

    def __init__(self, count: int, tokens: int) -> None:
        self._slots = [Slot(number) for number in range(count)]
        self._tokens = tokens
        self._uses = 0

    def take(self, prompt: bytes, tokens: int) -> tuple[Slot | None, list[Slot]]:
        """Return the slot for a task, and those that have to forget what they have before it runs.

        It is expected to have `tokens` in the end, with those of the prompt. `None` if all slots
        are taken, so that llama-server chooses.
        """
        idle = [slot for slot in self._slots if not slot.taken]
        if not idle:
            return None, []
        prompt = prompt[:COMPARED]
        alike = {slot: _alike(slot.prompt, prompt) for slot in idle}
        best = max(idle, key=lambda slot: alike[slot])
        if not prompt or alike[best] < SIMILAR * len(prompt):
            best = min(idle, key=lambda slot: (slot.held > 0, slot.used))
        self._uses += 1
        best.prompt, best.held, best.taken, best.used = prompt, tokens, True, self._uses
        excess = sum(slot.held for slot in self._slots) - self._tokens
        forgetting = []
        for slot in sorted(idle, key=lambda slot: slot.used):
            if excess <= 0:
                break
            if slot is not best and slot.held:
                excess -= slot.held
                slot.prompt, slot.held = b"", 0
                forgetting.append(slot)
        return best, forgetting

    def give_back(self, slot: Slot, tokens: int) -> None:
        """Note that the task in `slot` has ended with so many tokens."""
        slot.taken, slot.held = False, tokens


def _alike(one: bytes, other: bytes) -> int:
    """Return how many bytes both begin with."""
    alike, most = 0, min(len(one), len(other))
    while alike < most:
        middle = (alike + most + 1) // 2
        if one[alike:middle] == other[alike:middle]:
            alike = middle
        else:
            most = middle - 1
    return alike
