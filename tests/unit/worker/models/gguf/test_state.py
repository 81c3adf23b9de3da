"""What recurrent layers keep of a text is known from the file's metadata."""

from pathlib import Path

import pytest

from daiic.worker.models.gguf.description import describe
from daiic.worker.models.gguf.state import state_bytes
from support.models import tiny_gguf

QWEN3_NEXT = {
    "ssm.conv_kernel": 4,
    "ssm.inner_size": 4096,
    "ssm.state_size": 128,
    "ssm.group_count": 16,
}


@pytest.mark.parametrize(
    ("said", "numbers"),
    [
        ({}, 0),
        ({"ssm.conv_kernel": 4, "ssm.inner_size": 1536, "ssm.state_size": 16}, 1536 * 19),
        (QWEN3_NEXT, 24576 + 524288),
        ({"kda.head_dim": 128, "ssm.conv_kernel": 3}, 24576 + 524288),
        ({"wkv.head_size": 64}, 2048 * 66),
        ({"wkv.head_size": 64, "token_shift_count": 1}, 2048 * 65),
        ({"shortconv.l_cache": 3}, 2048 * 2),
    ],
    ids=["none", "Mamba", "Qwen3-Next", "Kimi Linear", "RWKV", "RWKV on Qwen2", "LFM2"],
)
@pytest.mark.parametrize(
    ("kv_heads", "recurrent"), [((0, 0, 0), 3), ((0, 8, 0), 2), ((8, 8, 8), 3)]
)
def test_its_size_is_what_llama_cpp_takes_for_the_architecture(
    said: dict[str, int], numbers: int, kv_heads: tuple[int, ...], recurrent: int
) -> None:
    size = state_bytes(lambda key: said.get(key, 0), kv_heads, 32, 2048)
    assert size == recurrent * numbers * 4


def test_it_is_counted_for_each_text_whatever_its_length(tmp_path: Path) -> None:
    model = describe(tiny_gguf.recurrent_model(tmp_path / "m.gguf", state=16, layers=2))
    assert model.state_bytes == 2 * 384 * (16 + 3) * 4 == model.checkpoint_bytes
    assert model.cache_bytes(100, 5) == model.cache_bytes(9000, 5) == 5 * model.state_bytes
