"""Which layers of a model lie where."""

from dataclasses import replace
from itertools import pairwise

import pytest

from daiic.worker.engines.llama_cpp.arrangement import arrange
from daiic.worker.models.gguf.choice import WORK
from daiic.worker.models.gguf.description import Gguf, describe
from daiic.worker.sharding.plan import Member, Plan
from support.models import tiny_gguf


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Gguf:
    path = tmp_path_factory.mktemp("model") / "chat.gguf"
    tiny = describe(tiny_gguf.chat_model(path))
    return replace(tiny, layers=20, layer_bytes=(100,) * 20, other_bytes=50)


CONTEXT = 400
"""Bytes of one task's context: a layer takes 100 for its weights and 20 for that."""


def plan(*sizes: int, own: int = 0) -> Plan:
    """Return a plan of members that should hold so many bytes, and this worker `own` of layers."""
    members = (Member(f"{n}", f"{n}", f"10.0.0.{n}:1", size) for n, size in enumerate(sizes))
    return Plan(tuple(members), own + WORK + 50 if own else 0)


@pytest.mark.parametrize("has_gpu", [False, True])
def test_every_layer_lies_somewhere_and_the_parts_follow_each_other(
    model: Gguf, has_gpu: bool
) -> None:
    arranged = arrange(model, plan(600, 600), has_gpu=has_gpu, context=CONTEXT)
    shards = arranged.shards("lead", "lead")
    assert sum(shard.layers for shard in shards) == 20
    for one, following in pairwise(shards):
        assert following.first_layer == one.first_layer + one.layers
    assert [shard.layers for shard in shards] == ([5, 5, 10] if has_gpu else [10, 5, 5])
    assert shards[-1 if has_gpu else 0].worker_id == "lead"
    # Embeddings and output lie with the one that leads, so that logits cross no way.
    by_id = {shard.worker_id: shard.bytes for shard in shards}
    assert by_id == {"0": 500, "1": 500, "lead": 1000 + model.other_bytes}


def test_llama_server_is_told_the_layers_of_its_devices_with_the_output_last(model: Gguf) -> None:
    def proportions(*, has_gpu: bool) -> list[int]:
        return arrange(model, plan(600, 600), has_gpu=has_gpu, context=CONTEXT).proportions

    assert proportions(has_gpu=False) == [5, 6]
    assert proportions(has_gpu=True) == [5, 5, 11]


def test_plan_that_shares_more_out_than_is_needed_is_followed_in_proportion(model: Gguf) -> None:
    arranged = arrange(model, plan(750, 750, own=1500), has_gpu=True, context=CONTEXT)
    assert (arranged.layers, arranged.own_layers) == ((5, 5), 10)


def test_files_beside_the_model_leave_fewer_layers_here(model: Gguf) -> None:
    arranged = arrange(model, plan(750, 750, own=1500), has_gpu=True, context=CONTEXT, beside=1000)
    assert arranged.own_layers == 5


def test_members_have_as_many_tasks_contexts_as_they_lend_memory_for(model: Gguf) -> None:
    arranged = arrange(model, plan(750, 750, own=1500), has_gpu=True, context=CONTEXT)
    assert arranged.fits_members(2)  # 5 layers of 100 and 20 for each task
    assert not arranged.fits_members(3)


def test_what_does_not_fit_here_goes_to_the_members(model: Gguf) -> None:
    arranged = arrange(model, plan(600, 600), has_gpu=False, context=CONTEXT, most=480)
    assert arranged.own_layers == 4
    assert sum(arranged.layers) == 16


def test_members_that_should_hold_everything_leave_no_layer_here(model: Gguf) -> None:
    arranged = arrange(model, plan(5000, 5000), has_gpu=False, context=CONTEXT)
    assert (arranged.own_layers, sum(arranged.layers)) == (0, 20)
