"""What it gains that a chat goes on where it began: two workers, with hashes and without.

    python tests/bench/prefix.py [--head daiic-head] [--engines llama.cpp,transformers] [--rounds 3]
                                 [--chats 4] [--history 1500] [--layers 2] [--slots 32]

Two real workers have the same random Qwen 3 with fewer layers. First, the second turn of a chat
that is alone goes to the worker that has read the first one, and to the other. Then, in each round,
some chats are held at once. Each begins with a history of its own of so many tokens, and goes
on three times after a pause; it is the turns after the first that count. In turn, the client tells
heads the hashes of its prompts or does not.

`first token` is the time until it comes, median and 90th percentile; `read before` the share of
the prompts' tokens that workers had in their caches; `CPU` the processor time of both workers for
all of that, by turn. Client, head and workers share this machine.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from contenders import cpu_seconds, environment, worker

from daiic.client import ClusterClient, cluster
from daiic.client.prompt_prefix import prompt_prefix
from daiic.whole_answer import joined
from daiic.wire import daiic_pb2 as pb
from support.models import random_qwen3
from support.processes import heads
from support.processes.daemon import Daemon
from support.processes.head_process import HeadProcess

PROGRAMS = Path(__file__).parents[2] / ".venv" / "llama.cpp" / "bin"
TURNS = 4
ALONE = 3
"""Second turns that are measured alone, each way."""
ANSWER = 8
"""Tokens of it."""
QUESTION = " and then what happened to them?"
PAUSE = 0.2, 1.5
"""Seconds between an answer and the next question, from and to."""
_numbers = count(10_000_000)


@dataclass(slots=True)
class Figures:
    """What came of the turns after the first of all chats, and of the processors' time in all."""

    first: list[float] = field(default_factory=list)
    prompt: int = 0
    cached: int = 0
    cpu: float = 0.0
    turns: int = 0

    def line(self, name: str) -> str:
        """Return them as a row of the table."""
        high = statistics.quantiles(self.first, n=10)[-1]
        return (
            f"{name:10}{statistics.median(self.first) * 1000:10.0f} ms{high * 1000:9.0f} ms"
            f"{self.cached / self.prompt:12.0%}{self.cpu / self.turns:12.2f} s"
        )


class Bench:
    """Workers with one model, and a client of their head."""

    def __init__(self, client: ClusterClient, model: str, workers: list[Daemon]) -> None:
        self._client = client
        self._model = model
        self._workers = workers
        self._history = ""

    async def measure_history(self, tokens: int) -> None:
        """Make histories of about so many tokens from now on."""
        words = "the quick brown fox jumps over the lazy dog and the dog does not mind " * 20
        task = pb.Task(model=self._model, text=pb.TextTask(prompt=words, max_tokens=1))
        found = (await self._client.answer(task)).usage.prompt_tokens
        self._history = (words * (1 + tokens // 100))[: round(len(words) / found * tokens)]

    async def caches(self) -> list[int]:
        """Return how many tokens of prompts each worker keeps."""
        return [
            next(m.cache_tokens for m in worker.heartbeat.models if m.name == self._model)
            for worker in (await self._client.status()).workers
        ]

    async def round(self, chats: int, figures: Figures, chance: random.Random) -> None:
        """Hold so many chats at once, and add to `figures` what came of them."""
        before = self._cpu()
        await asyncio.gather(
            *(self._chat(figures, random.Random(chance.random())) for _ in range(chats))
        )
        figures.cpu += self._cpu() - before
        figures.turns += chats * TURNS

    async def second_turn(self, *, elsewhere: bool) -> tuple[float, float]:
        """Let a chat that is alone go on, on the worker that has read it or on the other one.

        Return the seconds to the first token, and those of processors to the end.
        """
        said = f"{next(_numbers)} {self._history}"
        _, began_on, answer = await self._ask(said)
        ids = {status.heartbeat.worker_id for status in (await self._client.status()).workers}
        (other,) = ids - {began_on}
        before = self._cpu()
        first, _, _ = await self._ask(
            said + answer.text + QUESTION, other if elsewhere else began_on
        )
        return first, self._cpu() - before

    def _cpu(self) -> float:
        return cpu_seconds([worker.pid for worker in self._workers])

    async def _ask(self, prompt: str, worker_id: str = "") -> tuple[float, str, pb.Result]:
        """Return the seconds to the first token, who answered, and the whole answer."""
        text = pb.TextTask(prompt=prompt, max_tokens=ANSWER, temperature=0)
        task = pb.Task(model=self._model, stream=True, text=text, worker_id=worker_id)
        began, first = time.perf_counter(), 0.0
        parts = []
        async for part in self._client.run(task):
            if part.tokens and not first:
                first = time.perf_counter() - began
            parts.append(part)
        return first, parts[-1].worker_id, joined(parts)

    async def _chat(self, figures: Figures, chance: random.Random) -> None:
        said = f"{next(_numbers)} {self._history}"
        for turn in range(TURNS):
            said += QUESTION
            first, _, answer = await self._ask(said)
            said += answer.text
            if turn:
                figures.first.append(first)
                figures.prompt += answer.usage.prompt_tokens
                figures.cached += answer.usage.cached_tokens
            await asyncio.sleep(chance.uniform(*PAUSE))


async def contest(engine: str, model: Path, options: argparse.Namespace, head: heads.Head) -> None:
    """Print how chats go on with two workers that have `model`."""
    async with AsyncExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.scratch)))
        running = await stack.enter_async_context(HeadProcess(kind=head, http_listen=""))
        workers = []
        for name in "left", "right":
            daemon = worker(
                environment(1, PROGRAMS),
                heads=running.address,
                models=[model.name],
                models_dir=model.parent,
                state_dir=state / name,
                name=name,
                backend="cpu",
                threads=1,
                quantization="none",
                slots=options.slots,
            )
            workers.append(await stack.enter_async_context(daemon))
        for daemon in workers:
            await daemon.until_ready()
        await running.wait_for_workers(len(workers))
        client = await stack.enter_async_context(ClusterClient([running.address]))
        bench = Bench(client, model.name, workers)
        await bench.measure_history(options.history)
        (tokens, *_) = await bench.caches()
        print(f"\n{engine}, {head.name}, {options.history} tokens of history, caches of {tokens}")
        print(f"{'a second turn, alone':24}{'first token':>13}{'CPU':>10}")
        for elsewhere in True, False:
            turns = [await bench.second_turn(elsewhere=elsewhere) for _ in range(ALONE)]
            first, cpu = (statistics.median(values) for values in zip(*turns, strict=True))
            name = "where it is new" if elsewhere else "where it was read"
            print(f"{name:24}{first * 1000:10.0f} ms{cpu:8.2f} s", flush=True)
        ways = {"without": lambda task: b"", "with": prompt_prefix}
        figures = {name: Figures() for name in ways}
        for number in range(options.rounds):
            for name in sorted(ways, reverse=number % 2 == 0):
                cluster.prompt_prefix = ways[name]
                chance = random.Random(number)
                await bench.round(options.chats, figures[name], chance)
        print(f"{options.rounds} rounds of {options.chats} chats at once")
        print(f"{'hashes':10}{'first token':>13}{'p90':>12}{'read before':>12}{'CPU a turn':>14}")
        for name in ways:
            print(figures[name].line(name), flush=True)


async def run(options: argparse.Namespace) -> None:
    """Measure all engines that are asked for."""
    head = (
        heads.hydramesh("release") if options.head == heads.HYDRAMESH else heads.find("daiic-head")
    )
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        folder, file = Path(scratch) / "folders" / "random", Path(scratch) / "files" / "random.gguf"
        for place in folder.parent, file.parent:
            place.mkdir()
        random_qwen3.write(folder, file, layers=options.layers)
        models = {"llama.cpp": file, "transformers": folder}
        for engine in options.engines.split(","):
            await contest(engine, models[engine], options, head)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--head", default=heads.DAIIC_HEAD, help="daiic-head or hydramesh")
    parser.add_argument("--engines", default="llama.cpp,transformers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chats", type=int, default=4, help="at once")
    parser.add_argument("--history", type=int, default=1500, help="tokens of a chat's first turn")
    parser.add_argument("--layers", type=int, default=2, help="of the model")
    parser.add_argument("--slots", type=int, default=32, help="of a worker; fewer have less cache")
    parser.add_argument("--scratch", type=Path, help="folder for 1 GB of models")
    options = parser.parse_args()
    if unknown := {*options.engines.split(",")} - {"llama.cpp", "transformers"}:
        parser.error(f"--engines has {', '.join(unknown)}: name llama.cpp, transformers or both")
    uvloop.run(run(options))


if __name__ == "__main__":
    main()
