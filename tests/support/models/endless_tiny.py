"""daiic-tiny-chat without an end token, for both engines: no answer is shorter than it may be."""

import json
import shutil
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFReader

from support.models.tiny_gguf import TINY_CHAT, chat_model

END, NO_END = b"<|end|>", b"<|eXd|>"
"""llama.cpp knows the first by its name; the second is as long."""
ENDS = ("eos_token", "eos_token_id")
PAD = 0
"""A token that is never made."""


def write(folder: Path, gguf: Path, template: str | None = None, *, pads: bool = False) -> None:
    """Write the model to `folder` for transformers and to the file `gguf`, in bfloat16.

    The file has `template` in place of its own, if one is given, and PAD for an end. The folder
    has no end, or PAD too with `pads`: without one, transformers keeps to no constraint.
    """
    shutil.copytree(TINY_CHAT, folder)
    ends = {"eos_token": "<|pad|>", "eos_token_id": PAD} if pads else dict.fromkeys(ENDS)
    for name in ("generation_config.json", "tokenizer_config.json", "config.json"):
        if (folder / name).is_file():
            settings = json.loads((folder / name).read_text())
            settings.update(ends)
            (folder / name).write_text(json.dumps(settings))
    bf16 = GGMLQuantizationType.BF16
    chat_model(gguf, quantization=bf16, context=2048, template=template)
    gguf.write_bytes(gguf.read_bytes().replace(END, NO_END))
    field = GGUFReader(gguf, "r+").get_field("tokenizer.ggml.eos_token_id")
    assert field is not None
    field.parts[field.data[0]][0] = PAD
