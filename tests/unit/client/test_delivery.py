"""The order in which an answer is passed on, and what a second run needs."""

from hypothesis import given
from hypothesis import strategies as st

from daiic.delivery import SEED_BITS, Delivery
from daiic.wire import daiic_pb2 as pb


def text_task(**fields) -> pb.Task:
    return pb.Task(model="m", text=pb.TextTask(prompt="hello"), **fields)


def part(index: int, last: int) -> pb.Result:
    return pb.Result(index=index, text=f"{index} ", tokens=[index], final=index == last)


@given(st.data(), st.integers(1, 12))
def test_parts_come_out_in_order_and_once_however_they_arrive(data, count):
    arrivals = data.draw(st.permutations([*range(count), *range(count)]))
    delivery = Delivery(text_task())
    passed_on = [p for index in arrivals for p in delivery.accept(part(index, count - 1))]
    assert [p.index for p in passed_on] == list(range(count))
    assert delivery.finished
    assert not delivery.has_gap


@given(st.integers(0, 6), st.sets(st.integers(0, 9)))
def test_second_run_continues_after_what_was_passed_on(count, early):
    delivery = Delivery(text_task())
    for index in range(count):
        delivery.accept(part(index, 99))
    for index in early:
        if index > count:
            delivery.accept(part(index, 99))
    assert delivery.has_gap == any(index > count for index in early)
    delivery.resume_here()
    assert not delivery.has_gap
    assert delivery.next_index == count
    assert delivery.task.resume.index == count
    assert list(delivery.task.resume.tokens) == list(range(count))
    assert delivery.task.resume.text == "".join(f"{index} " for index in range(count))
    assert [p.index for p in delivery.accept(part(count, 99))] == [count]


def test_task_that_was_resumed_before_goes_on_counting():
    delivery = Delivery(text_task(resume=pb.Resume(tokens=[7, 8], text="ab", index=2)))
    assert delivery.accept(part(1, 9)) == []
    delivery.accept(pb.Result(index=2, text="c", tokens=[9]))
    delivery.resume_here()
    assert delivery.task.resume == pb.Resume(tokens=[7, 8, 9], text="abc", index=3)


def test_nothing_follows_the_final_part():
    delivery = Delivery(text_task())
    delivery.accept(part(0, 0))
    assert delivery.accept(part(1, 9)) == []


def test_text_and_image_get_a_seed_that_json_can_carry_unless_they_have_one():
    assert 0 <= Delivery(text_task()).task.text.seed < 1 << SEED_BITS
    drawn = {Delivery(pb.Task(image=pb.ImageTask())).task.image.seed for _ in range(4)}
    assert len(drawn) == 4
    assert Delivery(pb.Task(text=pb.TextTask(seed=0))).task.text.seed == 0
