"""The order in which an answer is passed on, and what a second run needs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daiic.answer_order import SEED_BITS, AnswerLimits, AnswerOrder, TooMuch
from daiic.wire import daiic_pb2 as pb


def text_task(**fields) -> pb.Task:
    return pb.Task(model="m", text=pb.TextTask(prompt="hello"), **fields)


def part(index: int, last: int) -> pb.Result:
    return pb.Result(index=index, text=f"{index} ", tokens=[index], final=index == last)


def passed_on(order: AnswerOrder, arriving: pb.Result) -> list[pb.Result]:
    parts = []
    ready = order.accept(arriving)
    while ready is not None:
        parts.append(ready)
        ready = order.follow()
    return parts


@given(st.data(), st.integers(1, 12))
def test_parts_come_out_in_order_and_once_however_they_arrive(data, count):
    arrivals = data.draw(st.permutations([*range(count), *range(count)]))
    order = AnswerOrder(text_task())
    parts = [p for index in arrivals for p in passed_on(order, part(index, count - 1))]
    assert [p.index for p in parts] == list(range(count))
    assert order.finished
    assert not order.has_gap


@given(st.integers(0, 6), st.sets(st.integers(0, 9)))
def test_second_run_continues_after_what_was_passed_on(count, early):
    order = AnswerOrder(text_task())
    for index in range(count):
        order.accept(part(index, 99))
    for index in early:
        if index > count:
            order.accept(part(index, 99))
    assert order.has_gap == any(index > count for index in early)
    order.resume_here()
    assert not order.has_gap
    assert order.next_index == count
    assert order.task.resume.index == count
    assert list(order.task.resume.tokens) == list(range(count))
    assert order.task.resume.text == "".join(f"{index} " for index in range(count))
    assert [p.index for p in passed_on(order, part(count, 99))] == [count]


def test_task_that_was_resumed_before_goes_on_counting():
    order = AnswerOrder(text_task(resume=pb.Resume(tokens=[7, 8], text="ab", index=2)))
    assert passed_on(order, part(1, 9)) == []
    order.accept(pb.Result(index=2, text="c", tokens=[9]))
    order.resume_here()
    assert order.task.resume == pb.Resume(tokens=[7, 8, 9], text="abc", index=3)


def test_nothing_follows_the_final_part():
    order = AnswerOrder(text_task())
    order.accept(part(0, 0))
    assert passed_on(order, part(1, 9)) == []


def test_text_and_image_get_a_seed_that_json_can_carry_unless_they_have_one():
    assert 0 <= AnswerOrder(text_task()).task.text.seed < 1 << SEED_BITS
    drawn = {AnswerOrder(pb.Task(image=pb.ImageTask())).task.image.seed for _ in range(4)}
    assert len(drawn) == 4
    assert AnswerOrder(pb.Task(text=pb.TextTask(seed=0))).task.text.seed == 0


ONE, OTHER = pb.ModelIdentity(weights="one"), pb.ModelIdentity(weights="other")


def test_the_model_that_made_the_tokens_is_named_when_the_answer_is_resumed() -> None:
    order = AnswerOrder(text_task())
    order.accept(pb.Result(index=0, text="a", tokens=[1], model=ONE))
    order.accept(pb.Result(index=1, text="b", tokens=[2]))
    order.resume_here()
    assert order.task.resume == pb.Resume(tokens=[1, 2], text="ab", index=2, model=ONE)
    assert order.made_by == ONE
    again = AnswerOrder(order.task)
    again.accept(pb.Result(index=2, text="c", tokens=[3]))
    again.resume_here()
    assert again.task.resume.model == ONE


def test_what_was_made_before_an_answer_started_over_is_not_resumed() -> None:
    order = AnswerOrder(text_task())
    order.accept(pb.Result(index=0, text="a", tokens=[1], model=ONE))
    over = pb.Result(index=1, text="x", tokens=[9], model=OTHER, started_over=True)
    assert passed_on(order, over) == [over]
    order.resume_here()
    assert order.task.resume == pb.Resume(tokens=[9], text="x", index=2, model=OTHER)


def test_an_answer_that_starts_over_out_of_order_forgets_in_order() -> None:
    order = AnswerOrder(text_task())
    over = pb.Result(index=1, text="x", tokens=[9], model=OTHER, started_over=True)
    assert passed_on(order, over) == []
    first = pb.Result(index=0, text="a", tokens=[1], model=ONE)
    assert passed_on(order, first) == [first, over]
    order.resume_here()
    assert order.task.resume == pb.Resume(tokens=[9], text="x", index=2, model=OTHER)


def test_an_answer_without_text_yet_may_be_continued_by_any_model() -> None:
    order = AnswerOrder(text_task())
    order.accept(pb.Result(index=0, progress=pb.Progress(phase="load"), model=ONE))
    assert order.made_by is None
    order.resume_here()
    assert order.task.resume == pb.Resume(index=1)
    order.accept(pb.Result(index=1, text="a", tokens=[1], model=OTHER))
    assert order.made_by == OTHER


def test_an_answer_that_started_over_may_be_as_long_as_any_other() -> None:
    order = AnswerOrder(text_task(), AnswerLimits(delivered=100))
    order.accept(pb.Result(index=0, text="a" * 90))
    order.accept(pb.Result(index=1, text="b" * 90, started_over=True))
    with pytest.raises(TooMuch):
        order.accept(pb.Result(index=2, text="c" * 90))


def test_a_part_that_is_too_much_takes_none_before_it_along() -> None:
    order = AnswerOrder(text_task(), AnswerLimits(delivered=100))
    order.accept(pb.Result(index=1, text="b" * 60))
    order.accept(pb.Result(index=2, text="c" * 60))
    first = order.accept(pb.Result(index=0, text="a"))
    assert first is not None
    second = order.follow()
    assert second is not None
    with pytest.raises(TooMuch):
        order.follow()
    order.resume_here()
    assert order.task.resume == pb.Resume(text="a" + "b" * 60, index=2)


def test_parts_that_wait_take_no_more_than_they_came_in() -> None:
    hostile = pb.Result(index=1, logprobs=[pb.TokenLogprobs()] * 100)
    order = AnswerOrder(text_task())
    order.accept(hostile)
    assert order.early_bytes == hostile.ByteSize()
    assert order.accept(pb.Result(index=0, text="a")) is not None
    assert order.follow() == hostile
    assert order.early_bytes == 0
