"""Programs with sensors, as processes: the greenhouse over a bad link, and what is kept of it."""

import asyncio
import json
import re
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from support.links.lossy_relay import Conditions, LossyRelay
from support.processes import heads
from support.processes.daemon import PATIENCE
from support.processes.program_process import CHAT, ProgramProcess, tiny_chat

EXAMPLES = Path(__file__).parents[3] / "src/hydramesh/examples"
BAD = Conditions(delay=0.030, jitter=0.010, loss=0.05)
KEPT = 3.0
"""Seconds after which what has happened is kept."""


class Bed:
    """A bed with its probe, a number in a file, and the program that reports it."""

    def __init__(self, kind: heads.Head, name: str, path: Path, station: str) -> None:
        self.name = name
        self.path = path
        environment = {**kind.environment, "BED": name, "PROBE": str(path)}
        self.process = ProgramProcess(
            replace(kind, environment=environment),
            EXAMPLES / "greenhouse-bed.lisp",
            domain_listen="127.0.0.1:0",
            domain_peers=station,
            heads="",
        )

    def is_at(self, moisture: float) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(f"{moisture}\n")
        fresh.replace(self.path)


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is entered here ends with the test."""
    async with AsyncExitStack() as stack:
        yield stack


def greenhouse(kind: heads.Head, state: Path, **settings: object) -> ProgramProcess:
    usual = {"domain_listen": "127.0.0.1:0", "storage": "sqlite", "state_dir": state, "heads": ""}
    return ProgramProcess(kind, EXAMPLES / "greenhouse.lisp", **(usual | settings))


def readings(kind: heads.Head, state: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*kind.command, "readings", *arguments, f"--state-dir={state}"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


async def test_a_greenhouse_asks_for_advice_once_whatever_its_links_and_restarts(
    hydramesh: heads.Head, tmp_path: Path, stack: AsyncExitStack
) -> None:
    pytest.importorskip("torch", reason="the worker's dependencies are not installed")
    head = await stack.enter_async_context(tiny_chat(hydramesh, tmp_path / "worker"))
    state = tmp_path / "state"
    first = await stack.enter_async_context(greenhouse(hydramesh, state, heads=head.address))
    relay = await stack.enter_async_context(await LossyRelay.start(first.host_port, BAD))
    to = "{}:{}".format(*relay.address)
    one, two = (Bed(hydramesh, f"bed {n}", tmp_path / f"bed-{n}", to) for n in (1, 2))
    for bed in (one, two):
        bed.is_at(40)
        await stack.enter_async_context(bed.process)
    await asyncio.sleep(KEPT)
    one.is_at(20)
    dry = await first.says(r"a bed is too dry .*")
    assert "bed 1" in dry and "moisture=20" in dry
    advice = await first.says(r"advice .*")
    assert "bed 1" in advice and re.search(r"advice=\S+", advice)
    two.is_at(1000)
    await asyncio.sleep(KEPT)
    first.signal(signal.SIGKILL)
    await first.ended()

    again = greenhouse(hydramesh, state, heads=head.address, domain_listen=first.address)
    second = await stack.enter_async_context(again)
    await asyncio.sleep(KEPT)
    # What was read in the minute in which the first was killed is not kept.
    two.is_at(40)
    await asyncio.sleep(KEPT)
    one.is_at(35)
    await second.says(r"a bed is wet enough again .*bed 1")
    log = first.log + second.log
    assert log.count("a bed is too dry") == 1, log
    assert "handler" not in log and log.count("bed 2") == 0, log
    second.signal(signal.SIGTERM)
    assert await second.ended() == 0

    told = await asyncio.to_thread(readings, hydramesh, state, "--json")
    assert told.returncode == 0, told
    by_device = {bed["device"]: bed for bed in json.loads(told.stdout)}
    assert set(by_device) == {"bed 1", "bed 2"}
    assert by_device["bed 1"]["latest"] <= 40 and by_device["bed 2"]["latest"] == 40
    drawn = await asyncio.to_thread(readings, hydramesh, state, "soil-moisture", "bed 1")
    assert drawn.stdout.startswith("soil-moisture of bed 1:"), drawn
    assert "20 to " in drawn.stdout and "#" in drawn.stdout


def test_readings_that_are_not_there_are_told_of(hydramesh: heads.Head, tmp_path: Path) -> None:
    nothing = readings(hydramesh, tmp_path)
    assert nothing.returncode == 1 and "nothing has been recorded yet" in nothing.stderr
    wrong = readings(hydramesh, tmp_path, "--since", "soon")
    assert wrong.returncode == 2 and "--since soon is not valid" in wrong.stderr
    much = readings(hydramesh, tmp_path, "a", "b", "c")
    assert much.returncode == 2 and "c is one too many" in much.stderr
    assert "usage: hydramesh readings" in readings(hydramesh, tmp_path, "--help").stdout


def test_the_examples_ask_a_model_that_is_here() -> None:
    assert CHAT in (EXAMPLES / "greenhouse.lisp").read_text("utf-8")
