"""What constraints cost: 32 streams of which none, 8 or all must be JSON of a schema, in one run.

    python tests/bench/constraints.py [--repeats N]

daiic-tiny-chat answers on transformers, in this process, with an end that it never makes, so that
all answers have as many tokens: the schema's array goes on. Beside tokens/s of all streams there is
the processor time of this process for a token, which other work on the machine disturbs less.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.engines.interface import Engine, LoadOptions
from daiic.worker.engines.transformers_text.load import load
from daiic.worker.memory.budget import MemoryBudget

MODEL = Path(__file__).parents[2] / "local-models" / "daiic-tiny-chat"
STREAMS, TOKENS = 32, 64
SCHEMA = {
    "type": "array",
    "minItems": 1000,
    "items": {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
}


def task(number: int, *, constrained: bool) -> pb.Task:
    text = pb.TextTask(prompt=f"{number} The quick", max_tokens=TOKENS, temperature=1, seed=number)
    if constrained:
        text.constraint.json_schema = json.dumps(SCHEMA)
    return pb.Task(model="tiny", text=text)


def endless(folder: Path) -> Path:
    """Write the model to `folder`, with its padding for an end."""
    shutil.copytree(MODEL, folder)
    for name, end in (
        ("generation_config.json", {"eos_token_id": 0}),
        ("tokenizer_config.json", {"eos_token": "<|pad|>"}),
    ):
        settings = json.loads((folder / name).read_text("utf-8"))
        (folder / name).write_text(json.dumps(settings | end), "utf-8")
    return folder


async def round_of(engine: Engine, constrained: int) -> tuple[float, float, int]:
    """Return the seconds and processor seconds of a round, and its tokens."""

    async def one(number: int) -> int:
        asked = task(number, constrained=number < constrained)
        return sum([len(part.tokens) async for part in engine.run(asked)])

    begun, worked = time.perf_counter(), time.process_time()
    tokens = sum(await asyncio.gather(*map(one, range(STREAMS))))
    return time.perf_counter() - begun, time.process_time() - worked, tokens


async def measure(engine: Engine, repeats: int) -> None:
    rounds: dict[int, list[tuple[float, float, int]]] = {0: [], 8: [], 32: []}
    await round_of(engine, STREAMS)
    for _ in range(repeats):  # in turn, so that what else the machine does meets all alike
        for constrained, measured in rounds.items():
            measured.append(await round_of(engine, constrained))
    print("constrained  tokens/s  processor ms/token")
    for constrained, measured in rounds.items():
        rate = statistics.median(tokens / seconds for seconds, _, tokens in measured)
        work = statistics.median(worked / tokens for _, worked, tokens in measured)
        print(f"{constrained:11}  {rate:8.0f}  {1000 * work:18.2f}")


async def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--repeats", type=int, default=5)
    repeats = arguments.parse_args().repeats
    options = LoadOptions(backend.choose("cpu"), slots=STREAMS)
    budget = MemoryBudget(vram_bytes=0, ram_bytes=2 << 30)
    with tempfile.TemporaryDirectory() as folder:
        path = endless(Path(folder) / "tiny")
        engine = await load(path, options, budget, lambda done: None)
        try:
            await measure(engine, repeats)
        finally:
            await engine.close()


asyncio.run(main())
