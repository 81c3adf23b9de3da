"""A model's cache is as large as is of use and as memory allows, and no larger."""

from dataclasses import replace
from pathlib import Path

import pytest

from daiic.worker.engines.llama_cpp.pool import GRAIN, SHARE, USUAL, Pool, pool_within, smallest
from daiic.worker.models.gguf.choice import CONTEXT
from daiic.worker.models.gguf.description import Gguf, describe
from support.models import tiny_gguf

ENOUGH = 1 << 50


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Gguf:
    return describe(tiny_gguf.chat_model(tmp_path_factory.mktemp("m") / "m.gguf", context=32768))


def pool(model: Gguf, room: int, slots: int = 32) -> Pool | None:
    return pool_within(room, model, slots, lambda tokens: model.cache_bytes(tokens, slots))


def test_with_enough_memory_a_task_gets_the_models_whole_context(model: Gguf) -> None:
    assert pool(model, ENOUGH) == Pool(32768, 32768, 32)
    long = replace(model, context_length=131072)
    assert pool(long, ENOUGH) == Pool(131072, 131072, 32)


def test_there_is_room_for_tasks_of_usual_length_in_all_slots(model: Gguf) -> None:
    assert pool(model, ENOUGH, slots=64) == Pool(64 * USUAL, 32768, 64)
    short = replace(model, context_length=300)
    assert pool(short, ENOUGH, slots=4) == Pool(1280, 300, 4)


def test_it_takes_a_share_of_what_is_free(model: Gguf) -> None:
    room = model.cache_bytes(16384, 32)
    found = pool(model, int(room / SHARE))
    assert found == Pool(16384, 16384, 32, is_bounded=True)


def test_a_task_of_usual_context_may_take_all_that_is_free(model: Gguf) -> None:
    room = model.cache_bytes(CONTEXT, 32)
    assert pool(model, room) == smallest(model, 32) == Pool(CONTEXT, CONTEXT, 32, is_bounded=True)
    assert pool(model, room - 1) is None


@pytest.mark.parametrize("context", [1, 255, 1000, 5000])
def test_a_cache_has_the_size_that_llama_cpp_would_round_it_to(model: Gguf, context: int) -> None:
    found = pool(replace(model, context_length=context), ENOUGH, slots=1)
    assert found is not None
    assert found.tokens % GRAIN == 0 and found.tokens >= found.context == context


def test_layers_with_a_window_keep_only_what_they_look_at(model: Gguf) -> None:
    sliding = replace(model, sliding_window=256, slides=(True, True, True, False))
    of_one_layer = model.cache_bytes(16384, 1) // 4
    within = of_one_layer * (256 * 8 + 512) // 16384
    assert sliding.cache_bytes(16384, 8) == of_one_layer + 3 * within
    assert sliding.cache_bytes(512, 8) == model.cache_bytes(512, 8)
    assert replace(model, causal=False).cache_bytes(512, 8) == 0


def test_which_layers_have_a_window_is_told_by_the_file_or_the_architecture(
    tmp_path: Path,
) -> None:
    gemma = tiny_gguf.empty_model(tmp_path / "g.gguf", "gemma3", layers=7, window=512)
    assert describe(gemma).slides == (True,) * 5 + (False, True)
    said = tiny_gguf.empty_model(
        tmp_path / "s.gguf", "other", layers=3, window=512, pattern=[True, False, True]
    )
    assert describe(said).slides == (True, False, True)
    period = tiny_gguf.empty_model(tmp_path / "p.gguf", "other", layers=3, window=512, pattern=2)
    assert describe(period).slides == (True, False, True)
    unknown = tiny_gguf.empty_model(tmp_path / "u.gguf", "other", layers=3, window=512)
    assert describe(unknown).slides == (False,) * 3
    without = tiny_gguf.empty_model(tmp_path / "w.gguf", "gemma3", layers=3, window=0)
    assert describe(without).slides == (False,) * 3
