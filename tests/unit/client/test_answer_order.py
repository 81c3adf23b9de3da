"""The order in which an answer is passed on, and what a second run needs."""

from hypothesis import given
from hypothesis import strategies as st

from daiic.answer_order import SEED_BITS, AnswerOrder
from daiic.wire import daiic_pb2 as pb


def text_task(**fields) -> pb.Task:
    return pb.Task(model="m", text=pb.TextTask(prompt="hello"), **fields)


def part(index: int, last: int) -> pb.Result:
    return pb.Result(index=index, text=f"{index} ", tokens=[index], final=index == last)


@given(st.data(), st.integers(1, 12))
def test_parts_come_out_in_order_and_once_however_they_arrive(data, count):
    arrivals = data.draw(st.permutations([*range(count), *range(count)]))
    order = AnswerOrder(text_task())
    passed_on = [p for index in arrivals for p in order.accept(part(index, count - 1))]
    assert [p.index for p in passed_on] == list(range(count))
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
    assert [p.index for p in order.accept(part(count, 99))] == [count]


def test_task_that_was_resumed_before_goes_on_counting():
    order = AnswerOrder(text_task(resume=pb.Resume(tokens=[7, 8], text="ab", index=2)))
    assert order.accept(part(1, 9)) == []
    order.accept(pb.Result(index=2, text="c", tokens=[9]))
    order.resume_here()
    assert order.task.resume == pb.Resume(tokens=[7, 8, 9], text="abc", index=3)


def test_nothing_follows_the_final_part():
    order = AnswerOrder(text_task())
    order.accept(part(0, 0))
    assert order.accept(part(1, 9)) == []


def test_text_and_image_get_a_seed_that_json_can_carry_unless_they_have_one():
    assert 0 <= AnswerOrder(text_task()).task.text.seed < 1 << SEED_BITS
    drawn = {AnswerOrder(pb.Task(image=pb.ImageTask())).task.image.seed for _ in range(4)}
    assert len(drawn) == 4
    assert AnswerOrder(pb.Task(text=pb.TextTask(seed=0))).task.text.seed == 0
