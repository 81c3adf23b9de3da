"""A model on three machines beside the same in one piece, by how long the way between them is.

    python tests/bench/sharding.py [--models tiny] [--gguf FILE] [--delays 0,0.1,1,5] [--repeats N]

A worker leads, two lend memory, and all are on this machine; between them is a relay that delays
what it brings, in milliseconds each way, or none for 0. What the relays add in truth is measured
first. In turn answer: llama-server with the whole model; llama-server with two plain rpc-servers,
split in the same way, over relays of its own; and DAIIC, whose ways are stunnel's TLS. Rates are
medians, all else means. The processor time of a token is that of all processes that serve, among
which the relays are not, and of it that of stunnel; bytes are those that both relays brought for a
token, of both directions, with the prompt's few.
"""

import argparse
import asyncio
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from contenders import Contender, LlamaServer, Mesh, environment, processes, worker
from engines import PROGRAMS, link
from long_way import LongWay, measured

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from daiic.worker.processors import cores
from daiic.worker.sharding.tunnel import free_port
from support.models import endless_tiny, random_qwen3
from support.processes.daemon import Daemon
from support.processes.head_process import HeadProcess

MEMBERS = 2
UNSPLIT, PLAIN, DAIIC = "unsplit llama-server", "plain rpc-server", "DAIIC"
_numbers = count(10_000_000)


@dataclass(frozen=True, slots=True)
class Figures:
    """What one contender did for one answer; times in seconds, for each token."""

    rate: float
    cpu: float
    tunnel: float
    bytes: float


class Race:
    """All contenders for one model, with relays between the machines or without."""

    def __init__(self, gguf: Path, state: Path, options: argparse.Namespace) -> None:
        self._gguf, self._state, self._options = gguf, state, options
        self._environment = environment(options.threads, PROGRAMS)
        self._contenders: list[Contender] = []
        self._ways: dict[str, list[LongWay]] = {}

    async def start(self, stack: AsyncExitStack, *, far: bool) -> None:
        """Load the model everywhere; `far` puts relays between."""
        key = self._state / "key"
        secret = ClusterKey.generate()
        secret.save(key)
        head = await stack.enter_async_context(HeadProcess(http_listen="", cluster_key_file=key))
        models, empty = self._state / "models", self._state / "empty"
        for folder in (models, empty):
            folder.mkdir()
        link(self._gguf, models / self._gguf.name)
        daemons = [
            await stack.enter_async_context(
                worker(
                    self._environment,
                    heads=head.address,
                    cluster_key_file=key,
                    models_dir=empty if number else models,
                    state_dir=self._state / str(number),
                    name=f"worker-{number}",
                    slots=1,
                    threads=self._options.threads,
                    shard=bool(number),
                    shard_listen="127.0.0.1:0",
                )
            )
            for number in range(1 + MEMBERS)
        ]
        lends = [await one.says(r"lending memory .*address=(\S+)") for one in daemons[1:]]
        rpc = [self._rpc_server() for _ in range(MEMBERS)]
        for one, _ in rpc:
            await stack.enter_async_context(one)
        to = {DAIIC: lends, PLAIN: [address for _, address in rpc]}
        if far:
            for name, addresses in to.items():
                ways = self._ways[name] = [LongWay(address) for address in addresses]
                for way in ways:
                    stack.callback(way.close)
                to[name] = [way.address for way in ways]
        share = self._gguf.stat().st_size // (1 + MEMBERS)
        plan = pb.ShardPlan(
            members=[
                pb.ShardMember(
                    worker_id=f"member-{place}", name=str(place), address=one, bytes=share
                )
                for place, one in enumerate(to[DAIIC])
            ]
        )
        # A head would make a plan of its own, without the relays.
        client = ClusterClient([daemons[0].address], key=secret)
        await stack.enter_async_context(client)
        mesh = Mesh(DAIIC, client, self._gguf.name, *daemons, shards=plan)
        await mesh.serve(["1 Once"], 2)  # loads the model
        whole = dict.fromkeys(("--rpc", "--tensor-split", "--n-gpu-layers", "--override-tensor"))
        servers = [
            self._llama_server(daemons[0], UNSPLIT, whole),
            self._llama_server(
                daemons[0],
                PLAIN,
                {"--rpc": ",".join(to[PLAIN]), "--override-tensor": None},
                [one for one, _ in rpc],
            ),
        ]
        for server in servers:
            stack.push_async_callback(server.close)
            await server.ready()
            await server.serve(["1 Once"], 2)
        self._contenders = [*servers, mesh]

    def _rpc_server(self) -> tuple[Daemon, str]:
        program = shutil.which("ggml-rpc-server", path=self._environment["PATH"])
        if program is None:
            sys.exit("no ggml-rpc-server: run tests/support/llama_cpp/fetch.sh .venv/llama.cpp")
        port = free_port()
        threads = str(self._options.threads)
        arguments = ["--host", "127.0.0.1", "--port", str(port), "--threads", threads]
        daemon = Daemon(program, *arguments, environment=self._environment)
        daemon.listens = r"(?s)RPC server v.*endpoint\s*: (\S+)"
        return daemon, f"127.0.0.1:{port}"

    def _llama_server(
        self,
        lead: Daemon,
        name: str,
        options: dict[str, str] | dict[str, str | None],
        others: Sequence[Daemon] = (),
    ) -> LlamaServer:
        socket = self._state / f"{name.partition(' ')[0]}.sock"
        return LlamaServer(
            lead.pid,
            self._gguf,
            socket,
            self._environment,
            name=name,
            options=options,
            others=others,
        )

    async def run(self, delay: float) -> None:
        """Print a table for a way of `delay` seconds."""
        for ways in self._ways.values():
            for way in ways:
                way.delay(delay)
        runs: dict[str, list[Figures]] = {one.name: [] for one in self._contenders}
        for number in range(self._options.repeats):
            turn = number % len(self._contenders)
            for one in self._contenders[turn:] + self._contenders[:turn]:
                runs[one.name].append(await self._measure(one))
        way = f"{delay * 1000:g} ms each way" if self._ways else "loopback"
        print(f"\n{way}: {self._options.tokens} tokens, {self._options.repeats} times in turn")
        print(f"{'':24}{'tokens/s':>10}{'CPU/token':>13}{'of it TLS':>13}{'bytes/token':>13}")
        for name, all_figures in runs.items():
            rate = statistics.median(one.rate for one in all_figures)
            cpu, tunnel, size = (  # what the kernel counts in hundredths of a second
                statistics.fmean(getattr(one, field) for one in all_figures)
                for field in ("cpu", "tunnel", "bytes")
            )
            print(
                f"{name:24}{rate:10.1f}{cpu * 1000:10.2f} ms{tunnel * 1000:10.2f} ms"
                + (f"{size:13,.0f}" if name in self._ways else f"{'':13}"),
                flush=True,
            )

    async def _measure(self, contender: Contender) -> Figures:
        ways = self._ways.get(contender.name, [])
        before = sum(way.bytes for way in ways)
        cpu, tunnel = _processor(contender)
        began = time.perf_counter()
        (reply,) = await contender.serve([f"{next(_numbers)} Hello"], self._options.tokens)
        took = time.perf_counter() - began
        after, after_tunnel = _processor(contender)
        if reply.tokens != self._options.tokens:
            print(f"  {contender.name}: {reply.tokens} tokens, not {self._options.tokens}")
        made = max(reply.tokens, 1)
        return Figures(
            made / took,
            (after - cpu) / made,
            (after_tunnel - tunnel) / made,
            (sum(way.bytes for way in ways) - before) / made,
        )


def _processor(contender: Contender) -> tuple[float, float]:
    """Return the processor time of all processes, and that of stunnel among them."""
    used = [(one.name(), sum(one.cpu_times()[:2])) for one in processes(contender.pids)]
    return sum(time for _, time in used), sum(time for name, time in used if "stunnel" in name)


async def contest(title: str, gguf: Path, options: argparse.Namespace) -> None:
    """Print the tables of one model."""
    print(f"\n== {title}, {gguf.stat().st_size / 1e6:.0f} MB, {options.threads} threads each")
    delays = [float(delay) / 1000 for delay in options.delays.split(",")]
    for far in (False, True):
        chosen = [delay for delay in delays if bool(delay) == far]
        if not chosen:
            continue
        async with AsyncExitStack() as stack:
            state = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.scratch)))
            race = Race(gguf, state, options)
            await race.start(stack, far=far)
            for delay in chosen:
                await race.run(delay)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="tiny,random", help="of tiny and random")
    parser.add_argument("--gguf", type=Path, help="a GGUF to measure too")
    parser.add_argument("--delays", default="0,0.1,1,5", help="milliseconds each way")
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=cores())
    parser.add_argument("--scratch", type=Path, help="folder for the models")
    options = parser.parse_args()
    models = [name for name in options.models.split(",") if name]
    if unknown := set(models) - {"tiny", "random"}:
        parser.error(f"--models has {', '.join(unknown)}: name some of tiny and random")
    for delay in options.delays.split(","):
        if asked := float(delay):
            median, high = measured(asked / 1000)
            print(f"{asked:g} ms each way are {median * 1000:.3f} ms (p90 {high * 1000:.3f} ms)")
    with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
        for name in models:
            folder, gguf = Path(scratch) / name, Path(scratch) / f"{name}.gguf"
            (endless_tiny if name == "tiny" else random_qwen3).write(folder, gguf)
            asyncio.run(contest(name, gguf, options))
        if options.gguf is not None:
            asyncio.run(contest(options.gguf.name, options.gguf, options))


if __name__ == "__main__":
    main()
