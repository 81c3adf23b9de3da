"""LoRA adapters of tiny models, as PEFT writes them, with random weights that change answers."""

from pathlib import Path
from typing import Any

import peft
import torch
from transformers import AutoModelForCausalLM


def adapter(model: Path, name: str, *, seed: int = 1, std: float = 0.3, **config: Any) -> Path:
    """Write the adapter `name` beside the language model in `model`; return its folder."""
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model)
    wanted = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj", "down_proj"]}
    adapted = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **wanted | config))
    for weight_name, weight in adapted.named_parameters():
        if "lora_" in weight_name:
            torch.nn.init.normal_(weight, std=std)
    folder = model.with_name(f"{model.name}.adapters") / name
    adapted.save_pretrained(folder)
    return folder


def greedy(model: Path, folder: Path | None, prompt: list[int], count: int) -> list[int]:
    """Return the tokens with which PEFT itself continues `prompt`."""
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    if folder is not None:
        loaded = peft.PeftModel.from_pretrained(loaded, folder)
    made = loaded.eval().generate(
        input_ids=torch.tensor([prompt]),
        attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
        do_sample=False,
        max_new_tokens=count,
        min_new_tokens=count,
        pad_token_id=0,
    )
    tokens: list[int] = made[0, len(prompt) :].tolist()
    return tokens
