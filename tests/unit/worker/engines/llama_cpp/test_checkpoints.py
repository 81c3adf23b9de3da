"""llama-server's copies of what it cannot go back to otherwise take a share of free memory."""

from dataclasses import replace
from pathlib import Path

import pytest

from daiic.worker.engines.llama_cpp.checkpoints import MOST, SHARE, checkpoints
from daiic.worker.models.gguf.description import Gguf, describe
from support.models import tiny_gguf


@pytest.fixture
def plain(tmp_path: Path) -> Gguf:
    return describe(tiny_gguf.chat_model(tmp_path / "m.gguf"))


def test_a_model_that_can_go_back_anyway_makes_none(plain: Gguf) -> None:
    assert checkpoints(plain, 32, 1 << 50) == 0


def test_a_copy_has_the_windows_of_the_layers_that_have_one(plain: Gguf) -> None:
    of_layer = plain.kv_bytes_per_token() // 4
    some = replace(plain, sliding_window=256, slides=(True, True, True, False))
    assert some.checkpoint_bytes == 3 * 256 * of_layer
    unknown = replace(some, slides=(False,) * 4)
    assert unknown.checkpoint_bytes == 4 * 256 * of_layer


@pytest.mark.parametrize("kind", ["sliding", "recurrent"])
def test_there_are_as_many_as_fit_into_the_share(plain: Gguf, tmp_path: Path, kind: str) -> None:
    model = replace(plain, sliding_window=256, slides=(True,) * 4)
    if kind == "recurrent":
        model = describe(tiny_gguf.recurrent_model(tmp_path / "r.gguf", state=16))
    one_each = int(8 * model.checkpoint_bytes / SHARE)
    assert checkpoints(model, 8, one_each) == 1
    assert checkpoints(model, 8, one_each - 8) == 0
    assert checkpoints(model, 8, 3 * one_each) == 3
    assert checkpoints(model, 8, 1 << 50) == MOST
    assert checkpoints(model, 8, -1) == 0
