"""Flash attention: faster than torch's own on cards, where a package of it is installed."""

from typing import Any

import torch
from transformers.utils.import_utils import is_flash_attn_2_available, is_flash_attn_3_available

NAMES = {"flash_attention_3": "flash attention 3", "flash_attention_2": "flash attention 2"}
"""What transformers calls them, the better first, and what people do."""


def implementations(model: Any) -> list[str]:
    """Return transformers' names of those that may serve `model`, the better first.

    They compute in half precision only. Kernels from the Hugging Face Hub, which
    transformers would fetch, don't count: nobody here has checked that code.
    """
    halves = (torch.float16, torch.bfloat16)
    if model.device.type != "cuda" or model.dtype not in halves or not model._supports_flash_attn:
        return []
    installed = {
        "flash_attention_3": is_flash_attn_3_available,
        "flash_attention_2": is_flash_attn_2_available,
    }
    return [name for name in NAMES if installed[name]()]
