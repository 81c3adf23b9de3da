"""DAIIC through each of its engines beside the engines by themselves, in one run.

    python tests/bench/engines.py [--models tiny,random] [--gguf FILE] [--repeats N] [--scale 1.0]

For each model, llama-server, `generate` of transformers (one static batch), and DAIIC with either
engine are loaded side by side, and answer in turn: 1, 8 and 32 streams, and a prompt of 1,000
tokens. Each stream's prompt begins with a number of its own, so that no cache has read it. Models:
daiic-tiny-chat without an end token (`tiny`), half a billion random weights as a Qwen 3 (`random`,
GGUF in Q8_0), and any GGUF by its path, without transformers. llama-server gets the arguments that
DAIIC's worker gives to its own.

The processor time is that of all processes that serve, not the client's; memory is what they hold
(RSS) after the load. "head, worker" is DAIIC's own client on a head, "whole path" is HTTP to a
gateway and on. At last, answers of one token are asked for in turn: what the ways add to
llama-server. All that run the random model hold some 13 GB together.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).parents[1]))

from contenders import (
    Contender,
    Generate,
    LlamaServer,
    Mesh,
    Reply,
    WholePath,
    cpu_seconds,
    environment,
    memory,
    worker,
)

from daiic.bench.rounds import PROMPT
from daiic.client import ClusterClient
from daiic.worker.processors import cores
from support.models import endless_tiny, random_qwen3
from support.processes.gateway_process import gateway_process
from support.processes.head_process import HeadProcess

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / ".venv" / "llama.cpp" / "bin"
SHORT, LONG = 64, 1000
"""Tokens of a prompt."""
PINGS = 60
REPEATS = {"tiny": 3}
_numbers = count(10_000_000)


@dataclass(frozen=True, slots=True)
class Load:
    """So many streams at once, with prompts and answers of so many tokens."""

    streams: int
    prompt: int
    tokens: int


LOADS = {
    "tiny": [Load(1, SHORT, 256), Load(8, SHORT, 128), Load(32, SHORT, 64), Load(1, LONG, 16)],
    "random": [Load(1, SHORT, 32), Load(8, SHORT, 16), Load(32, SHORT, 8), Load(1, LONG, 8)],
}
"""The random model is slow: more tokens would take minutes, and tell the same."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one contender did under a load: medians over its repeats."""

    rate: float
    first: float
    cpu: float
    memory: int


async def measure(contender: Contender, text: str, load: Load) -> Figures:
    """Let `contender` answer once."""
    prompts = [f"{next(_numbers)} {text}" for _ in range(load.streams)]
    cpu, began = cpu_seconds(contender.pids), time.perf_counter()
    replies: list[Reply] = await contender.serve(prompts, load.tokens)
    seconds = time.perf_counter() - began
    made = sum(reply.tokens for reply in replies)
    if made != load.streams * load.tokens:
        print(f"  {contender.name}: {made} tokens, not {load.streams * load.tokens}")
    return Figures(
        made / seconds,
        statistics.median(reply.first for reply in replies),
        (cpu_seconds(contender.pids) - cpu) / max(made, 1),
        memory(contender.pids),
    )


async def compare(contenders: list[Contender], text: str, load: Load, repeats: int) -> None:
    """Print a table of all contenders under one load; in turn."""
    runs: dict[str, list[Figures]] = {contender.name: [] for contender in contenders}
    for number in range(repeats):
        # Who goes first changes: what the machine does beside it then hits all alike.
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            runs[contender.name].append(await measure(contender, text, load))
    print(f"\n{load.streams} streams, prompt {load.prompt} tokens, answer {load.tokens}")
    print(
        f"{'':34}{'tokens/s':>9}{'first token':>13}{'CPU/token':>12}{'memory':>10}"
        f"{'CPU':>8}{'memory':>8}"
    )
    base = None
    for name, figures in runs.items():
        rate, first, cpu, held = (
            statistics.median(getattr(one, field) for one in figures)
            for field in ("rate", "first", "cpu", "memory")
        )
        base = base or (cpu, held)
        print(
            f"{name:34}{rate:9.1f}{first * 1000:10.1f} ms{cpu * 1000:9.2f} ms{held / 1e6:7.0f} MB"
            f"{cpu / base[0] if base[0] else 0:8.2f}{held / base[1]:8.2f}",
            flush=True,
        )


async def pings(contenders: list[Contender], repeats: int) -> None:
    """Print what the ways to a model add to an answer of one token, in turn."""
    took: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for number in range(repeats):
        turn = number % len(contenders)
        for contender in contenders[turn:] + contenders[:turn]:
            (reply,) = await contender.serve([f"{next(_numbers)} Hello"], 1)
            took[contender.name].append(reply.whole)
    print(
        f"\none token of a short prompt, {repeats} times in turn (p50, p90; p50 beyond the first)"
    )
    base = statistics.median(took[contenders[0].name])
    for name, seconds in took.items():
        median, high = statistics.median(seconds), statistics.quantiles(seconds, n=10)[-1]
        columns = f"{median * 1000:7.2f} ms{high * 1000:8.2f} ms{(median - base) * 1000:+8.2f} ms"
        print(f"{name:34}{columns}")


async def text_of(server: LlamaServer, tokens: int) -> str:
    """Return a text that has with a number before it at most `tokens`, and no more words fit."""
    words = (PROMPT + " ").split() * (1 + tokens // 50)
    low, high = 1, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        fits = await server.count(f"{next(_numbers)} {' '.join(words[:middle])}") <= tokens
        low, high = (middle, high) if fits else (low, middle - 1)
    return " ".join(words[:low])


def link(file: str | Path, place: str | Path) -> None:
    """Make `place` the same file, or a copy on another file system: workers follow no symlinks."""
    try:
        os.link(file, place)
    except OSError:
        shutil.copyfile(file, place)


async def contest(
    title: str, gguf: Path, folder: Path | None, loads: list[Load], options: argparse.Namespace
) -> None:
    """Load all that can run one model, and print how they compare."""
    shared = environment(options.threads, PROGRAMS)
    async with AsyncExitStack() as stack:
        state = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        head = await stack.enter_async_context(HeadProcess(http_listen=""))
        gateway = await stack.enter_async_context(gateway_process(f"--heads={head.address}"))
        client = await stack.enter_async_context(ClusterClient([head.address]))
        contenders: list[Contender] = []
        for number, model in enumerate(filter(None, (gguf, folder))):
            models = state / f"models-{number}"
            models.mkdir()
            if model.is_dir():
                shutil.copytree(model, models / model.name, copy_function=link)
            else:
                link(model, models / model.name)
            daemon = await stack.enter_async_context(
                worker(
                    shared,
                    heads=head.address,
                    models=[model.name],
                    models_dir=models,
                    state_dir=state / f"worker-{number}",
                    name=f"worker-{number}",
                )
            )
            await daemon.until_ready()
            engine = "transformers" if model.is_dir() else "llama.cpp"
            if engine == "llama.cpp":
                server = LlamaServer(daemon.pid, gguf, state / "llama.sock", shared)
                stack.push_async_callback(server.close)
                await server.ready()
                contenders.append(server)
            contenders.append(Mesh(f"{engine}: head, worker", client, model.name, head, daemon))
            if engine == "llama.cpp":  # the gateway adds the same to any
                name = f"{engine}: whole path"
                contenders.append(
                    WholePath(name, gateway.address, model.name, gateway, head, daemon)
                )
            else:
                generate = Generate(model, options.threads)
                stack.push_async_callback(generate.close)
                contenders.append(generate)
        await gateway.ready()
        print(f"\n== {title}, {options.threads} threads; a cache of {server.cache:,} tokens")
        for contender in contenders:
            await contender.serve(["1 Once upon a time"], 4)  # the first answer is slower
        for load in loads:
            load = Load(load.streams, load.prompt, max(2, round(load.tokens * options.scale)))
            text = await text_of(server, load.prompt)
            await compare(contenders, text, load, options.repeats or REPEATS.get(title, 1))
        await pings(contenders[:3], PINGS)


async def run(options: argparse.Namespace) -> None:
    """Measure all models that are asked for."""
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        place = Path(scratch)
        for name in filter(None, options.models.split(",")):
            folder, gguf = place / name, place / f"{name}.gguf"
            if name == "tiny":
                endless_tiny.write(folder, gguf)
            else:
                random_qwen3.write(folder, gguf)
            await contest(name, gguf, folder, LOADS[name], options)
        if options.gguf is not None:
            await contest(options.gguf.name, options.gguf, None, LOADS["random"], options)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="tiny,random", help="of tiny and random")
    parser.add_argument("--gguf", type=Path, help="a GGUF to measure too")
    parser.add_argument("--repeats", type=int, default=0, help="0: 3 for tiny, 1 for the others")
    parser.add_argument("--scale", type=float, default=1.0, help="of the answers' lengths")
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--scratch", type=Path, help="folder for 2 GB of models")
    options = parser.parse_args()
    if unknown := set(filter(None, options.models.split(","))) - LOADS.keys():
        parser.error(f"--models has {', '.join(unknown)}: name some of {', '.join(LOADS)}")
    if options.gguf is not None and not options.gguf.is_file():
        parser.error(f"--gguf {options.gguf} is no file")
    uvloop.run(run(options))


if __name__ == "__main__":
    main()
