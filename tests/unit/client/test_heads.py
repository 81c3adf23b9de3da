"""The heads that a client knows: which of them it uses, learns of, and forgets."""

import pytest

from daiic.client.heads import FORGET_AFTER, HEAD_SILENCE, MOST, Heads
from daiic.wire.address import format_address
from daiic.wire.messages import Address

FIRST, SECOND, THIRD = (("127.0.0.1", port) for port in (1, 2, 3))


@pytest.fixture
def heads() -> Heads:
    return Heads([FIRST, SECOND], remote=False)


def names(*addresses: Address) -> list[str]:
    return [format_address(address) for address in addresses]


@pytest.mark.rule("preferred")
def test_first_head_that_answers_and_is_not_draining_gets_new_tasks(heads: Heads) -> None:
    assert heads.best(0.0) == FIRST  # nobody has answered yet
    heads.heard(SECOND, 0.0)
    assert heads.best(0.0) == SECOND
    heads.heard(FIRST, 0.0)
    assert heads.best(0.0) == FIRST
    heads.draining(FIRST, True)
    assert heads.best(0.0) == SECOND
    heads.draining(SECOND, True)
    assert heads.best(0.0) == FIRST
    assert heads.other(FIRST, 0.0) is None


@pytest.mark.rule("head-silent", "head-back")
def test_head_that_is_silent_is_not_used_until_it_answers_again(heads: Heads) -> None:
    heads.heard(FIRST, 0.0)
    heads.draining(FIRST, True)
    heads.heard(SECOND, 0.0)
    late = HEAD_SILENCE
    heads.heard(SECOND, late)
    assert not heads.alive(FIRST, late)
    assert heads.best(late) == SECOND
    heads.heard(FIRST, late)  # a new process, which is not draining
    assert heads.best(late) == FIRST


@pytest.mark.rule("head-silent")
def test_unreachable_head_is_not_used_though_it_was_heard_lately(heads: Heads) -> None:
    heads.heard(FIRST, 0.0)
    heads.heard(SECOND, 0.0)
    heads.lost(FIRST)
    assert heads.best(0.0) == SECOND


@pytest.mark.rule("heads-told")
def test_heads_that_are_told_come_after_those_that_were_given(heads: Heads) -> None:
    heads.told([*names(THIRD, FIRST), "head.example:7717", "192.0.2.1:7717", "[::1]:7717"], 0.0)
    assert list(heads) == [FIRST, SECOND, THIRD]
    for head in heads:
        heads.heard(head, 0.0)
    assert heads.best(0.0) == FIRST
    assert heads.other(FIRST, 0.0) == SECOND


@pytest.mark.rule("heads-told")
def test_heads_on_other_machines_are_learned_of_if_the_client_may_talk_to_them() -> None:
    heads = Heads([FIRST], remote=True)
    heads.told(["192.0.2.1:7717"], 0.0)
    assert list(heads) == [FIRST, ("192.0.2.1", 7717)]


@pytest.mark.rule("heads-told")
def test_no_more_heads_are_known_than_the_bound(heads: Heads) -> None:
    heads.told(names(*(("127.0.0.1", port) for port in range(10, 100))), 0.0)
    assert len(list(heads)) == MOST == 16


@pytest.mark.rule("head-forgotten")
def test_learned_head_is_forgotten_when_it_neither_answers_nor_is_named(heads: Heads) -> None:
    other = ("127.0.0.1", 4)
    heads.told(names(THIRD, other), 0.0)
    heads.told(names(other), FORGET_AFTER)
    heads.expire(FORGET_AFTER)
    assert THIRD in heads
    heads.expire(FORGET_AFTER + 0.1)
    assert THIRD not in heads
    assert other in heads
    assert SECOND in heads  # it was configured
    heads.heard(other, 2 * FORGET_AFTER)
    heads.expire(2 * FORGET_AFTER + 0.1)
    assert other in heads  # it answers
