"""The README's first command, on the models that come with the project."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[3] / "local-models"
PATIENCE = 240.0


def daemons_of(pid: int) -> list[int]:
    """The processes whose parent is `pid`."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_demo_answers_paints_and_leaves_nothing_behind(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("daiic"),
        *("demo", "--models-dir", str(MODELS)),
        cwd=tmp_path,
        env={**os.environ, "COLUMNS": "100", "OMP_NUM_THREADS": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    said = ""
    try:
        async with asyncio.timeout(PATIENCE):
            while "Ctrl-C stops it" not in said:
                line = await process.stdout.readline()
                assert line, said
                said += line.decode()
        daemons = daemons_of(process.pid)
        assert len(daemons) == 4
        process.send_signal(number)
        await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert "one cluster" in said  # of the answer to "What is DAIIC?"
    assert "0x02 TASK" in said
    assert (tmp_path / "daiic-demo.png").read_bytes().startswith(b"\x89PNG")
    assert not any(Path(f"/proc/{daemon}").exists() for daemon in daemons)
