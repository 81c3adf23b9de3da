"""Prints the version of transformers, and what models that see answer with it."""

import asyncio
import json
import tempfile
from pathlib import Path

import torch
import transformers

from daiic.worker import backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.transformers_text.load import load
from daiic.worker.memory.budget import MemoryBudget
from support.models.pictures import message, noise, task
from support.models.vision_families import family

FAMILIES = ("LLaVA", "Qwen 3 VL", "Gemma 3")


async def answer(path: Path) -> list[int]:
    options = LoadOptions(backend.choose("cpu"), slots=2)
    engine = await load(path, options, MemoryBudget(0, 1 << 30), lambda done: None)
    try:
        wanted = task(message(noise(1), "and", noise(2, 50, 130)), max_tokens=8, temperature=0.0)
        return [token async for part in engine.run(wanted) for token in part.tokens]
    finally:
        await engine.close()


async def main() -> None:
    torch.set_num_threads(1)
    answers: dict[str, object] = {"version": transformers.__version__}
    with tempfile.TemporaryDirectory() as folder:
        for name in FAMILIES:
            answers[name] = await answer(family(name, Path(folder) / name))
    print(json.dumps(answers))


asyncio.run(main())
