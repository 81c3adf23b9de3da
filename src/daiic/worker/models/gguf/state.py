"""What recurrent layers keep of a text: a state, whose size does not depend on its length."""

from collections.abc import Callable, Sequence

BYTES = 4
"""Of a number; llama.cpp keeps states in full precision."""
SHIFTS = 2
"""Tokens that RWKV looks back to, where the file does not say."""


def state_bytes(
    count: Callable[[str], int], kv_heads: Sequence[int], heads: int, width: int
) -> int:
    """Return the bytes of one text's state in all layers; 0 if there are no recurrent ones.

    `count` returns what the metadata have for a key without the architecture, 0 if nothing.
    Layers are recurrent that have no heads for keys and values, or all where each has some:
    there may be both in one layer, and not every file tells which layers have what. So it is
    the most that llama.cpp may take.
    """
    recurrent = sum(not number for number in kv_heads) or len(kv_heads)
    return recurrent * _numbers(count, heads, width) * BYTES


def _numbers(count: Callable[[str], int], heads: int, width: int) -> int:
    """Return how many numbers one layer keeps, as llama.cpp's `n_embd_r` and `n_embd_s` say."""
    if size := count("wkv.head_size"):  # RWKV
        return width * (size + (count("token_shift_count") or SHIFTS))
    if length := count("shortconv.l_cache"):  # LFM2
        return width * (length - 1)
    before = max(count("ssm.conv_kernel") - 1, 0)
    if size := count("kda.head_dim"):  # Kimi Linear
        return heads * size * (3 * before + size)
    inner, state = count("ssm.inner_size"), count("ssm.state_size")  # Mamba and its kin
    return before * (inner + 2 * count("ssm.group_count") * state) + state * inner
