"""How long heads take to choose one of 100 workers: as such, by a policy, by what they have read.

A part of hydramesh.py. HydraMesh's is processor time in one Lisp process (decisions.lisp), through
the code that places tasks in a head. All of the policy's 50 rules match the task. Hashes are 64,
the most that count, and workers remember as many blocks as they may. `daiic-head`, which has no
policies, is measured in this process in the same way.
"""

import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from daiic.answer_order import AnswerLimits
from daiic.head.clients import Client
from daiic.head.dialect import PROTOBUF
from daiic.head.group_ledger import GroupLedger
from daiic.head.job import Job
from daiic.head.limits import HeadLimits
from daiic.head.patience import worth_waiting
from daiic.head.placement import place
from daiic.head.registry import Registry
from daiic.prompt_blocks import ENDS, HASH
from daiic.wire import daiic_pb2 as pb
from daiic.work import WORK
from support.processes import built

BUILD = Path(built.WORKSPACE) / "hydramesh" / "build.sh"
WORKERS = 100
BATCH, BATCHES = 100, 20
NOW = 1000.0
CASES = (
    # what workers have read, and how many hashes, share of readers, share of these that are busy
    ("without hashes", 0, 0.0, 0.0),
    ("64 hashes that nobody has read", 64, 0.0, 0.0),
    ("that one has read", 64, 0.01, 0.0),
    ("that half have read", 64, 0.5, 0.0),
    ("that all have read", 64, 1.0, 0.0),
    ("half, of which half are busy", 64, 0.5, 0.5),
    ("half, and all of them busy", 64, 0.5, 1.0),
)


def measure_hydramesh() -> None:
    """Run it and print the times."""
    said = subprocess.run(
        [BUILD, "lisp", "--load", Path(__file__).with_suffix(".lisp"), "--quit"],
        capture_output=True,
        text=True,
    )
    if said.returncode:
        raise SystemExit(f"decisions are not measured: {said.stderr[-2000:]}")
    print("-- a decision among 100 workers that have the model, hydramesh")
    for line in said.stdout.splitlines():
        word, *rest = line.split(" ", 3)
        if word == "decision":
            microseconds, size, title = rest
            print(f"{title:32} {float(microseconds):7.1f} µs   {int(size):6d} bytes", flush=True)


def measure_daiic_head() -> None:
    """Measure it and print the times."""
    print("-- a decision among 100 workers that have the model, daiic-head")
    for title, hashes, readers, busy in CASES:
        job = _job(hashes)
        decide = _decision(job, _workers(job, readers, busy))
        times = []
        for _ in range(BATCHES):
            began = time.process_time()
            for _ in range(BATCH):
                decide()
            times.append((time.process_time() - began) / BATCH)
        print(f"{title:32} {statistics.median(times) * 1e6:7.1f} µs", flush=True)


def _decision(job: Job, workers: Registry) -> Callable[[], object]:
    groups = GroupLedger(workers, HeadLimits(), lambda worker, model: None)

    def decide() -> object:
        placed = place(workers, groups, job, NOW)
        assert placed is not None
        return worth_waiting(workers, placed[0], job, NOW)

    return decide


def _job(hashes: int) -> Job:
    size = 100 + (ENDS[hashes - 1] if hashes else 0)
    prefix = b"".join(number.to_bytes(HASH) for number in range(1, hashes + 1))
    task = pb.Task(model="m", prefix=prefix, text=pb.TextTask(prompt="hi", max_tokens=200))
    client = Client(("127.0.0.1", 1))
    limits = AnswerLimits()
    return Job(task, [], 1, WORK["text"], client, PROTOBUF, size, limits, 1, NOW, NOW + 600)


def _workers(job: Job, readers: float, busy: float) -> Registry:
    """Return workers that have read much, a share of them the prompt; of these some are busy."""
    registry = Registry(HeadLimits())
    for number in range(WORKERS):
        model = pb.ModelStatus(name="m", state=pb.LOADED, rate=20 + number)
        beat = pb.Heartbeat(
            worker_id=f"w{number}", incarnation=1, state=pb.READY, slots=4, models=[model]
        )
        worker, _ = registry.heard(beat, ("192.0.2.1", number), NOW)
        assert worker is not None
        for other in range(14):
            others = range(1000 * (100 * number + other), 1000 * (100 * number + other) + 64)
            worker.read.note("m", [(1 << 40 | block).to_bytes(HASH) for block in others])
        if number < readers * WORKERS:
            worker.read.note("m", job.prefix)
            worker.turnaround.ended(2.0, NOW)
            if number < busy * readers * WORKERS:
                worker.attempts.update(range(4))
    return registry
