"""What constraints cost: 32 streams of which none, 8 or all must be JSON of a schema, in one run.

    python tests/bench/constraints.py [--repeats N] [--threads N]

daiic-tiny-chat answers on transformers, in this process, and as a GGUF on a llama-server, which has
the arguments that DAIIC gives to its own and makes its own grammar of the schema. Neither ends
before all tokens are made: the schema's array goes on. Beside tokens/s of all streams there is the
processor time for a token, which other work on the machine disturbs less: of this process with
transformers, and of llama-server alone. At last, what it takes to try a constraint that is new.
"""

import argparse
import asyncio
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog
import torch
from contenders import LlamaServer, cpu_seconds, environment

from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.engines.interface import Engine, LoadOptions
from daiic.worker.engines.transformers_text.load import load
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.processors import cores
from support.llama_cpp.running import PROGRAMS, serving
from support.models import endless_tiny

STREAMS, TOKENS = 32, 64
TRIALS = 9
SAMPLING = {"top_k": 50, "top_p": 0.9, "min_p": 0}
"""The model's own, which transformers has from its files."""
SCHEMA = {
    "type": "array",
    "minItems": 100,
    "items": {
        "type": "object",
        "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
}


class Round(NamedTuple):
    """Seconds, processor seconds and tokens of all streams."""

    seconds: float
    cpu: float
    tokens: int


class InThisProcess:
    """A model on transformers."""

    name = "transformers, in DAIIC"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def cpu(self) -> float:
        return time.process_time()

    async def answer(self, number: int, *, constrained: bool) -> int:
        """Return how many tokens an answer has."""
        text = pb.TextTask(prompt=f"{number} The quick", max_tokens=TOKENS, temperature=1)
        text.seed = number
        if constrained:
            text.constraint.json_schema = json.dumps(SCHEMA)
        parts = self._engine.run(pb.Task(model="tiny", text=text))
        return sum([len(part.tokens) async for part in parts])

    async def trial(self, number: int) -> None:
        """Ask for one token of an answer whose constraint nobody asked for before."""
        text = pb.TextTask(prompt="The quick", max_tokens=1)
        text.constraint.json_schema = json.dumps(SCHEMA | {"minItems": 1000 + number})
        async for _ in self._engine.run(pb.Task(model="tiny", text=text)):
            pass


class ByItself:
    """A llama-server."""

    name = "llama-server"

    def __init__(self, server: LlamaServer) -> None:
        self._server = server

    def cpu(self) -> float:
        return cpu_seconds(self._server.pids)

    async def answer(self, number: int, *, constrained: bool) -> int:
        """Return how many tokens an answer has."""
        prompt = f"{number} The quick"
        body = {"prompt": prompt, "n_predict": TOKENS, "seed": number, "temperature": 1, **SAMPLING}
        if constrained:
            body["json_schema"] = SCHEMA
        reply = await self._server.complete(body)
        return reply.tokens


Contestant = InThisProcess | ByItself


async def round_of(who: Contestant, constrained: int) -> Round:
    """Let all streams answer at once, of which so many are `constrained`."""
    begun, worked = time.perf_counter(), who.cpu()
    answers = (who.answer(number, constrained=number < constrained) for number in range(STREAMS))
    tokens = sum(await asyncio.gather(*answers))
    if tokens != STREAMS * TOKENS:
        print(f"  {who.name}: {tokens} tokens, not {STREAMS * TOKENS}")
    return Round(time.perf_counter() - begun, who.cpu() - worked, tokens)


async def measure(contestants: list[Contestant], repeats: int) -> None:
    """Print what each did, with each number of constrained streams; medians of all rounds."""
    rounds: dict[tuple[int, str], list[Round]] = {}
    for who in contestants:
        await round_of(who, STREAMS)
    for _ in range(repeats):  # in turn, so that what else the machine does meets all alike
        for constrained in (0, 8, STREAMS):
            for who in contestants:
                rounds.setdefault((constrained, who.name), []).append(
                    await round_of(who, constrained)
                )
    print(f"{'constrained':26}  tokens/s  processor ms/token")
    for (constrained, name), measured in rounds.items():
        rate = statistics.median(one.tokens / one.seconds for one in measured)
        work = statistics.median(one.cpu / one.tokens for one in measured)
        print(f"{constrained:2} {name:23}  {rate:8.0f}  {1000 * work:18.2f}")


async def trials_of(who: InThisProcess) -> None:
    """Print what it takes to try constraints that are new; the trial is a process of its own."""
    took, worked = [], []
    for number in range(TRIALS):
        begun, before = time.perf_counter(), sum(os.times()[:4])
        await who.trial(number)
        took.append(time.perf_counter() - begun)
        worked.append(sum(os.times()[:4]) - before)
    seconds, cpu = statistics.median(took), statistics.median(worked)
    print(f"a new constraint, and a token: {seconds:.2f} s, {cpu:.2f} s of processors")


async def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=cores(), help="of either")
    asked = arguments.parse_args()
    torch.set_num_threads(asked.threads)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    shared = environment(asked.threads, PROGRAMS)
    os.environ |= shared
    options = LoadOptions(backend.choose("cpu"), slots=STREAMS, threads=asked.threads)
    budget = MemoryBudget(vram_bytes=0, ram_bytes=2 << 30)
    async with AsyncExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder, gguf = place / "tiny", place / "tiny.gguf"
        endless_tiny.write(folder, gguf, pads=True)
        await stack.enter_async_context(serving(gguf, options=options))
        server = LlamaServer(os.getpid(), gguf, place / "llama.sock", shared)
        stack.push_async_callback(server.close)
        await server.ready()
        engine = await load(folder, options, budget, lambda done: None)
        stack.push_async_callback(engine.close)
        own = InThisProcess(engine)
        await measure([own, ByItself(server)], asked.repeats)
        await trials_of(own)


asyncio.run(main())
