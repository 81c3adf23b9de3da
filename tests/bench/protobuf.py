"""What HydraMesh's messages cost: `python tests/bench/protobuf.py`. Never fails.

One processor encodes and decodes typical messages, all in one run: HydraMesh in Protocol Buffers
and in its JSON, Yason in JSON, of which it makes mere tables, and Python with its protobuf (upb).
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table

from daiic.wire import daiic_pb2 as pb

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.processes.built import HYDRAMESH

LONG_TEXT = "The quick brown fox jumps over the lazy dog; nobody asked it why. " * 28


def messages() -> dict[str, Message]:
    """Return what is measured, by the name of its type in Lisp and a title."""
    model = pb.ModelStatus(
        name="Qwen/Qwen2.5-7B-Instruct",
        kind=pb.TEXT,
        state=pb.LOADED,
        bytes=15 << 30,
        quantization="4bit",
        placement="gpu",
        rate=87.25,
        capabilities=[pb.CHAT, pb.COMPLETE, pb.EMBED, pb.TOOLS, pb.SCHEMA, pb.SAMPLING],
        identity=pb.ModelIdentity(weights="5f" * 32, tokenizer="a0" * 32, quantization="4bit"),
    )
    heartbeat = pb.Heartbeat(
        worker_id="worker-01f9",
        incarnation=0x1234567890ABCDEF,
        name="rack 3",
        version="0.1.0",
        state=pb.READY,
        backend=pb.CUDA,
        device="NVIDIA GeForce RTX 3090",
        vram=pb.Memory(total=24 << 30, free=3 << 30),
        ram=pb.Memory(total=128 << 30, free=90 << 30),
        models=[model] * 20,
        slots=8,
        running=5,
        tasks_done=123456,
        tokens_per_second=345.5,
        heads=["10.0.0.1:9900", "10.0.0.2:9900"],
    )
    task = pb.Task(
        id=0x1234567890ABCDEF,
        model="Qwen/Qwen2.5-7B-Instruct",
        deadline_ms=60_000,
        stream=True,
        client="alice",
        text=pb.TextTask(
            messages=[
                pb.ChatMessage(role="system", content="You are a helpful assistant."),
                pb.ChatMessage(role="user", content=LONG_TEXT),
            ],
            max_tokens=512,
            temperature=0.7,
            top_p=0.95,
            seed=42,
            stop=["\n\n"],
        ),
    )
    result = pb.Result(id=0x1234567890ABCDEF, index=17, text=" probably", tokens=[31337])
    vectors = [pb.Embedding(values=[(i * 37 % 4001 - 2000) / 2001 for i in range(4096)])] * 1024
    return {
        "cancel.CANCEL": pb.Cancel(id=0x1234567890ABCDEF),
        "result.RESULT, one token": result,
        "task.TASK, a chat of 2 KB": task,
        "heartbeat.HEARTBEAT, 20 models": heartbeat,
        "result.RESULT, 16 MiB of vectors": pb.Result(id=7, final=True, embeddings=vectors),
    }


def measured(function: Callable[[], object]) -> tuple[float, float]:
    """Return the wall and processor seconds of one call, in the best of ten short runs."""
    count, costs = 1, [(0.0, 0.0)]
    while count * costs[0][0] < 0.05:
        count *= 2
        costs = [cost(function, count)]
    return min((cost(function, count) for _ in range(10)), key=lambda cost: cost[1])


def cost(function: Callable[[], object], count: int) -> tuple[float, float]:
    """Return the wall and processor seconds of each of `count` calls."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(count):
        function()
    return (time.perf_counter() - wall) / count, (time.process_time() - processor) / count


def of_lisp(folder: Path) -> dict[tuple[str, str], tuple[float, float]]:
    """Return what protobuf.lisp has measured, by title and kind."""
    said = subprocess.run(
        [HYDRAMESH / "build.sh", "lisp", "--load", Path(__file__).with_suffix(".lisp"), "--quit"],
        env={**os.environ, "MESSAGES": str(folder)},
        capture_output=True,
        text=True,
    )
    if said.returncode:
        sys.exit(f"HydraMesh is not measured: {said.stderr[-2000:]}")
    found = {}
    for line in said.stdout.splitlines():
        title, direction, kind, wall, processor, _ = line.rsplit(" ", 5)
        found[title, f"{direction} {kind}"] = float(wall), float(processor)
    return found


def shown(seconds: tuple[float, float] | None) -> str:
    """Return wall and processor time of one message, if it was measured."""
    if seconds is None:
        return "-"
    factor, unit = (1e6, "µs") if seconds[0] < 0.1 else (1e3, "ms")
    wall, processor = (s * factor for s in seconds)
    return f"{wall:,.2f} / {processor:,.2f} {unit}"


def main() -> None:
    """Measure, and print two tables."""
    with tempfile.TemporaryDirectory() as folder:
        for title, message in messages().items():
            (Path(folder) / f"{title}.pb").write_bytes(message.SerializeToString())
        lisp = of_lisp(Path(folder))
    for direction in ("encode", "decode"):
        table = Table(
            title=f"{direction}: wall / processor time of one message", title_justify="left"
        )
        table.add_column("message")
        for column in ("bytes", "HydraMesh", "its JSON", "Yason", "JSON ÷ protobuf", "Python, upb"):
            table.add_column(column, justify="right")
        for title, message in messages().items():
            payload = message.SerializeToString()
            python = measured(
                message.SerializeToString
                if direction == "encode"
                else lambda: type(message).FromString(payload)  # noqa: B023
            )
            ours, json, yason = (
                lisp.get((title, f"{direction} {kind}")) for kind in ("protobuf", "json", "yason")
            )
            assert ours
            table.add_row(
                title.partition(".")[2],
                f"{len(payload):,}",
                shown(ours),
                shown(json),
                shown(yason),
                " / ".join(f"{other[1] / ours[1]:,.0f}" for other in (json, yason) if other),
                shown(python),
            )
        Console(width=150).print(table)


if __name__ == "__main__":
    main()
