"""daiic-tiny-chat without an end token, for both engines: no answer is shorter than it may be."""

import json
import shutil
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFReader

from support.models.tiny_gguf import TINY_CHAT, chat_model

END, NO_END = b"<|end|>", b"<|eXd|>"
"""llama.cpp knows the first by its name; the second is as long."""
PAD = 0
"""A token that is never made."""


def write(folder: Path, gguf: Path, template: str | None = None) -> None:
    """Write the model to `folder` for transformers and to the file `gguf`, in bfloat16.

    The file has `template` in place of its own, if one is given.
    """
    shutil.copytree(TINY_CHAT, folder)
    for name in ("generation_config.json", "tokenizer_config.json", "config.json"):
        if (folder / name).is_file():
            settings = json.loads((folder / name).read_text())
            settings.update(eos_token=None, eos_token_id=None)
            (folder / name).write_text(json.dumps(settings))
    bf16 = GGMLQuantizationType.BF16
    chat_model(gguf, quantization=bf16, context=2048, template=template)
    gguf.write_bytes(gguf.read_bytes().replace(END, NO_END))
    field = GGUFReader(gguf, "r+").get_field("tokenizer.ggml.eos_token_id")
    assert field is not None
    field.parts[field.data[0]][0] = PAD
