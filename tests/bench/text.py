"""Tokens a second of the text engine, beside `generate` one at a time and in one static batch.

    python tests/bench/text.py [--model FOLDER] [--tokens 128] [--threads 1] [--streams 1,8,32]

All make the same number of tokens from prompts of the same length, which is
what a static batch is best at. The model's end token is taken away, so that
no answer is shorter. Below that, as many clients as there are slots ask one
question after the other, no two of the same length.
"""

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import uvloop
from transformers import AutoModelForCausalLM, AutoTokenizer

from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch import quantization
from daiic.worker.engines.transformers_text.engine import TextEngine
from daiic.worker.engines.transformers_text.load import load as load_text
from daiic.worker.memory.budget import MemoryBudget

PROMPT = "A head routes every task to the best worker, and a worker that dies is missed by nobody. "
REPEATS = 3


def endless(source: Path, copy: Path) -> Path:
    """Make a copy of a model that has no end token."""
    copy.mkdir()
    for file in source.iterdir():
        (copy / file.name).symlink_to(file.resolve())
    for name in ("generation_config.json", "tokenizer_config.json", "config.json"):
        if (source / name).is_file():
            settings = json.loads((source / name).read_text())
            settings.update(eos_token=None, eos_token_id=None)
            (copy / name).unlink()
            (copy / name).write_text(json.dumps(settings))
    return copy


def measured(streams: int, tokens: int, run: Callable[[], None]) -> float:
    """Return the median of the tokens a second of some runs, after one that does not count."""
    rates = []
    for number in range(REPEATS + 1):
        began = time.perf_counter()
        run()
        if number:
            rates.append(streams * tokens / (time.perf_counter() - began))
    return statistics.median(rates)


def generate(model: Any, ids: torch.Tensor, tokens: int) -> None:
    """Continue all rows of `ids` in one static batch."""
    with torch.inference_mode():
        made = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=0,
        )
    assert made.shape[1] - ids.shape[1] == tokens


async def serve(engine: TextEngine, streams: int, tokens: int, temperature: float) -> None:
    """Answer so many tasks at once."""

    async def one(seed: int) -> int:
        text = pb.TextTask(
            prompt=PROMPT, max_tokens=tokens, temperature=temperature, seed=seed, top_k=0, top_p=1
        )
        answer = engine.run(pb.Task(stream=True, text=text))
        return sum([len(part.tokens) async for part in answer])

    made = await asyncio.gather(*(one(seed) for seed in range(streams)))
    assert sum(made) == streams * tokens


async def converse(engine: TextEngine, clients: int, tokens: int, **sampling: float) -> None:
    """Print how fast clients are answered who ask and answer at different lengths."""
    made = 0
    waits = []

    async def one(client: int) -> None:
        nonlocal made
        chance = random.Random(client)
        for number in range(3):
            text = pb.TextTask(
                prompt=" ".join(chance.choices(PROMPT.split(), k=chance.randint(5, 80))),
                max_tokens=chance.randint(tokens // 4, tokens * 5 // 4),
                seed=client * 3 + number,
                top_k=0,
                **sampling,
            )
            began = time.perf_counter()
            first = True
            async for part in engine.run(pb.Task(stream=True, text=text)):
                if first:
                    waits.append(time.perf_counter() - began)
                first = False
                made += len(part.tokens)

    began = time.perf_counter()
    await asyncio.gather(*(one(client) for client in range(clients)))
    rate = made / (time.perf_counter() - began)
    wait = statistics.median(waits) * 1000
    print(f"{clients} clients, {sampling}: {rate:.0f} tokens/s, first token after {wait:.1f} ms")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=Path("local-models/daiic-tiny-chat"))
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--streams", default="1,8,32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = backend.choose("auto")
    with tempfile.TemporaryDirectory() as folder:
        path = endless(options.model, Path(folder) / options.model.name)
        model = AutoModelForCausalLM.from_pretrained(
            path, dtype=quantization.compute_dtype(chosen), device_map={"": chosen.device}
        )
        ids = AutoTokenizer.from_pretrained(path)(PROMPT, return_tensors="pt").input_ids
        print(
            f"{options.model.name}, {model.num_parameters() / 1e6:.1f} M weights, {chosen.name}, "
            f"{options.threads} threads; prompt {ids.shape[1]} tokens, answer {options.tokens}"
        )
        print(" streams  one at a time  static batch  engine  engine, sampling    (tokens/s)")
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:
            engine = loop.run(
                load_text(
                    path,
                    LoadOptions(chosen, ram_offload=False, slots=32),
                    MemoryBudget(chosen.vram().free, backend.ram().free),
                    lambda done: None,
                )
            )
            for streams in map(int, options.streams.split(",")):
                report(loop, engine, model, ids, streams, options.tokens)
            for temperature, top_p in ((0.0, 1.0), (0.8, 0.9)):
                for _ in range(REPEATS):
                    loop.run(
                        converse(engine, 32, options.tokens, temperature=temperature, top_p=top_p)
                    )
            loop.run(engine.close())


def report(
    loop: asyncio.Runner,
    engine: TextEngine,
    model: Any,
    ids: torch.Tensor,
    streams: int,
    tokens: int,
) -> None:
    """Print one line."""
    ids = ids.to(model.device)
    single = measured(1, tokens, lambda: generate(model, ids, tokens))
    static = measured(streams, tokens, lambda: generate(model, ids.expand(streams, -1), tokens))
    greedy, sampling = (
        measured(streams, tokens, lambda t=t: loop.run(serve(engine, streams, tokens, t)))  # type: ignore[misc]
        for t in (0.0, 1.0)
    )
    print(f"{streams:8} {single:14.0f} {static:13.0f} {greedy:7.0f} {sampling:17.0f}", flush=True)


if __name__ == "__main__":
    main()
