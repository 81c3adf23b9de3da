"""What a model gets of memory, whatever its configuration says."""

import pytest

from daiic.worker.engines.vllm.sizes import fitted, shape_of

GIB = 1 << 30
LLAMA_8B = {
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_size": 4096,
    "max_position_embeddings": 131072,
}


def test_a_tokens_keys_and_values_are_those_of_all_layers() -> None:
    shape = shape_of(LLAMA_8B)
    assert shape.token_bytes == 2 * 32 * 8 * 128 * 2
    assert shape_of({"text_config": LLAMA_8B}) == shape
    assert shape_of(LLAMA_8B, value_bytes=4).token_bytes == 2 * shape.token_bytes
    assert shape.part(2).token_bytes * 2 == shape.token_bytes


def test_a_context_is_as_long_as_the_cache() -> None:
    shape = shape_of(LLAMA_8B)
    enough = fitted(shape, 32, 80 * GIB, in_ram=False)
    assert enough is not None and enough.context == 32768 and enough.cache_bytes == 8 * GIB
    little = fitted(shape, 32, GIB, in_ram=False)
    assert little is not None and little.context == 8192 and little.cache_bytes == GIB
    assert fitted(shape, 32, 1 << 20, in_ram=False) is None
    assert fitted(shape, 32, -GIB, in_ram=False) is None


def test_in_ram_it_has_whole_gibibytes() -> None:
    shape = shape_of(LLAMA_8B)
    found = fitted(shape, 1, 5 * GIB + 7, in_ram=True)
    assert found is not None and found.cache_bytes == 4 * GIB
    assert fitted(shape, 1, GIB - 1, in_ram=True) is None


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"text_config": []},
        {"num_attention_heads": 0, "hidden_size": "x", "num_hidden_layers": -1},
        {"num_attention_heads": True, "head_dim": 10**30, "max_position_embeddings": 1e9},
    ],
    ids=["empty", "list", "nonsense", "huge"],
)
def test_a_strange_configuration_has_a_shape(config) -> None:
    shape = shape_of(config)
    assert shape.token_bytes >= 1 and shape.heads >= 1 and 0 < shape.context <= 32768
