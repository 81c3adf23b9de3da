"""How a transformers model is quantised with bitsandbytes, and in which precision it computes."""

import logging
from typing import TYPE_CHECKING

import torch

from daiic.worker.backend import Backend

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig

BYTES_PER_WEIGHT = {"8bit": 1.05, "4bit": 0.55}
"""Of a quantised matrix, its scales included."""


def compute_dtype(backend: Backend, precision: str = "auto") -> torch.dtype:
    """Return the precision of weights that are not quantised, and of all arithmetic.

    On a CPU `precision` decides. With "auto" this is float32: it is what makes a
    task's text independent of the tasks beside it, and bitsandbytes' CPU kernels
    are fastest with it.
    """
    if not backend.is_gpu:
        return torch.bfloat16 if precision == "bfloat16" else torch.float32
    return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16


def config(quantization: str, dtype: torch.dtype, *, offload: bool) -> "BitsAndBytesConfig | None":
    """Return what `from_pretrained` takes, or None for "none".

    4 bits are NF4 with double quantisation (Dettmers et al., QLoRA, 2023).
    With `offload`, what lies in RAM while the rest is on a GPU stays in
    `dtype`, which is all that bitsandbytes can do there.
    """
    if quantization == "none":
        return None
    # Imported lazily: it takes seconds, and is not needed just for the dtype.
    from transformers import BitsAndBytesConfig

    if quantization == "8bit":
        # It tells of the cast to float16 at each multiplication.
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_enable_fp32_cpu_offload=offload)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_enable_fp32_cpu_offload=offload,
    )
