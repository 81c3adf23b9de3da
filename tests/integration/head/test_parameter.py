"""`DAIIC_HEAD` puts any head before these tests."""

import dataclasses
import shlex
import sys
from pathlib import Path

import pytest

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.peers.worker_stub import WorkerStub
from support.processes import heads
from support.processes.head_process import HeadProcess
from support.processes.heads import Head


async def test_the_head_is_whatever_command_the_environment_names(
    each_head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = shlex.join(each_head.command)
    if each_head.name == heads.DAIIC_HEAD:
        given = str(Path(sys.executable).with_name(given))
    wrapper = tmp_path / "head"
    wrapper.write_text(f'#!/bin/sh\necho "$@" > "$1"\nshift\nexec {given} "$@"\n')
    wrapper.chmod(0o755)
    called_with = tmp_path / "called with"
    monkeypatch.setenv("DAIIC_HEAD", f"{wrapper} '{called_with}'")
    (name,) = heads.names()
    assert name == "head"
    kind = dataclasses.replace(heads.find(name), environment=each_head.environment)
    started = HeadProcess(kind=kind, queue_size=3)
    async with started as head, ClusterClient([head.address]) as client:
        stub = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        task = pb.Task(model="echo", text=pb.TextTask(prompt="through the wrapper"))
        assert (await client.answer(task)).text == "through the wrapper"
        assert (await client.status()).queue_size == 3
        await stub.close()
    assert "--queue-size=3" in called_with.read_text("utf-8")
