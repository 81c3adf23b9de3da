"""Which layers of a model lie where."""

from dataclasses import replace
from itertools import pairwise

import pytest

from daiic.worker.engines.llama_cpp.arrangement import arrange
from daiic.worker.models.gguf.description import Gguf, describe
from daiic.worker.sharding.plan import Member
from support.models import tiny_gguf


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Gguf:
    path = tmp_path_factory.mktemp("model") / "chat.gguf"
    tiny = describe(tiny_gguf.chat_model(path))
    return replace(tiny, layers=20, layer_bytes=(100,) * 20, other_bytes=50)


def members(*sizes: int) -> tuple[Member, ...]:
    return tuple(Member(f"{n}", f"{n}", f"10.0.0.{n}:1", size) for n, size in enumerate(sizes))


@pytest.mark.parametrize("has_gpu", [False, True])
def test_every_layer_lies_somewhere_and_the_parts_follow_each_other(
    model: Gguf, has_gpu: bool
) -> None:
    last = 500 if has_gpu else 550  # with the output, where no GPU here has it
    arranged = arrange(model, members(500, last), has_gpu=has_gpu)
    shards = arranged.shards("lead", "lead")
    assert sum(shard.layers for shard in shards) == 20
    for one, following in pairwise(shards):
        assert following.first_layer == one.first_layer + one.layers
    assert [shard.layers for shard in shards] == ([5, 5, 10] if has_gpu else [10, 5, 5])
    assert shards[-1 if has_gpu else 0].worker_id == "lead"


def test_llama_server_is_told_the_layers_of_its_devices_with_the_output_last(model: Gguf) -> None:
    assert arrange(model, members(500, 550), has_gpu=False).proportions == [5, 6]
    assert arrange(model, members(500, 500), has_gpu=True).proportions == [5, 5, 11]


def test_what_does_not_fit_here_goes_to_the_members(model: Gguf) -> None:
    arranged = arrange(model, members(500, 550), has_gpu=False, most=400)
    assert arranged.own_layers == 4
    assert sum(arranged.layers) == 16


def test_members_that_should_hold_everything_leave_no_layer_here(model: Gguf) -> None:
    arranged = arrange(model, members(5000, 5000), has_gpu=False)
    assert (arranged.own_layers, sum(arranged.layers)) == (0, 20)
