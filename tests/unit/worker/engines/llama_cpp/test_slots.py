"""A llama-server's slots: who has a prompt's beginning gets it, and the oldest forget first."""

import pytest

from daiic.worker.engines.llama_cpp.slots import Slot, Slots

CHAT = 1500
"""Tokens of one."""


class Server:
    """What the slots of a llama-server have, when they do as `Slots` says."""

    def __init__(self, count: int, tokens: int) -> None:
        self.slots = Slots(count, tokens)
        self.tokens = tokens
        self.has: dict[int, tuple[bytes, int]] = {}

    def begin(self, prompt: bytes, tokens: int) -> tuple[Slot, int]:
        """Begin a task; return its slot, and how many bytes of the prompt that has."""
        slot, forgetting = self.slots.take(prompt, tokens)
        assert slot is not None
        for other in forgetting:
            del self.has[other.number]
        before, _ = self.has.get(slot.number, (b"", 0))
        self.has[slot.number] = prompt, tokens
        assert sum(tokens for _, tokens in self.has.values()) <= self.tokens
        return slot, len(before) if prompt.startswith(before) else 0

    def run(self, prompt: bytes, tokens: int = CHAT) -> int:
        """Run a task; return how many bytes of its prompt were there."""
        slot, had = self.begin(prompt, tokens)
        self.slots.give_back(slot, tokens)
        return had


def chat(name: str, turn: int = 0) -> bytes:
    return (name * 6000)[:6000].encode() + b"and then? " * turn


def test_two_chats_that_fit_go_on_though_others_were_there_before_them() -> None:
    server = Server(4, 4096)
    for old in "abcd":
        assert server.run(chat(old)) == 0
    assert [server.run(chat(name)) for name in "xy"] == [0, 0]
    for turn in range(1, 5):
        assert [server.run(chat(n, turn)) for n in "xy"] == [len(chat("x", turn - 1))] * 2


def test_the_chat_that_was_used_least_recently_makes_room() -> None:
    server = Server(4, 3 * CHAT)
    for name in "abca":
        server.run(chat(name))
    server.run(chat("d"))
    assert server.run(chat("a", 1)) and server.run(chat("c", 1))
    assert server.run(chat("b", 1)) == 0


def test_nothing_is_forgotten_while_there_is_room() -> None:
    server = Server(4, 4 * CHAT)
    for name in "abcd":
        server.run(chat(name))
    assert all(server.run(chat(name, 1)) for name in "abcd")


def test_what_a_task_has_is_never_forgotten_and_never_given_to_another() -> None:
    server = Server(3, 2 * CHAT)
    first, _ = server.begin(chat("a"), CHAT)
    server.run(chat("b"))
    second, had = server.begin(chat("a"), CHAT)
    assert second is not first and not had
    assert set(server.has) == {first.number, second.number}


def test_short_prompts_leave_long_ones_alone_while_there_are_empty_slots() -> None:
    server = Server(3, 4 * CHAT)
    server.run(chat("a"))
    server.run(b"hi", 10)
    server.run(b"hello", 10)
    assert server.run(chat("a", 1))


def test_what_was_reckoned_and_not_made_is_free_again() -> None:
    server = Server(2, 2 * CHAT)
    slot, _ = server.begin(chat("a"), 2 * CHAT)
    server.slots.give_back(slot, CHAT)
    server.has[slot.number] = chat("a"), CHAT
    server.run(chat("b"))
    assert server.run(chat("a", 1))


@pytest.mark.parametrize("prompt", [b"", b"x"])
def test_where_all_are_taken_the_server_chooses(prompt: bytes) -> None:
    slots = Slots(1, 100)
    slots.take(b"", 1)
    assert slots.take(prompt, 1) == (None, [])
