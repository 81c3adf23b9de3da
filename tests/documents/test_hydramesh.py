"""docs/hydramesh.md teaches programs that run."""

import re
from pathlib import Path

import pytest

from support.processes import built, heads
from support.processes.program_process import ProgramProcess

DOCUMENT = (Path(__file__).parents[2] / "docs" / "hydramesh.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```lisp\n(.*?)^```$", DOCUMENT, re.M | re.S)


@pytest.fixture(scope="module")
def hydramesh() -> heads.Head:
    with built.or_skip("hydramesh"):
        return heads.hydramesh()


def program_with(macro: str) -> str:
    (text,) = (text for text in PROGRAMS if f"({macro} " in text)
    return str(text)


@pytest.mark.parametrize("text", PROGRAMS, ids=lambda text: text.split()[0].strip("("))
async def test_each_program_runs(
    text: str, hydramesh: heads.Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where programs write
    program = tmp_path / "program.lisp"
    program.write_text(text, "utf-8")
    settings = {"domain_listen": "127.0.0.1:0", "heads": ""}
    async with ProgramProcess(hydramesh, program, **settings) as process:
        assert process.stop() == 0, process.log
    assert "failed" not in process.log


async def test_who_is_on_the_meadow_hears_the_others(hydramesh: heads.Head, tmp_path: Path) -> None:
    program = tmp_path / "meadow.lisp"
    program.write_text(program_with("defgame"), "utf-8")
    settings = {"domain_listen": "127.0.0.1:0", "heads": ""}
    async with (
        ProgramProcess(hydramesh, program, **settings) as host,
        ProgramProcess(hydramesh, program, domain_peers=host.address, **settings) as one,
        ProgramProcess(hydramesh, program, domain_peers=host.address, **settings) as other,
    ):
        for process in (one, other):
            await process.says(r"heard .*text=(?:'I come!'|\"I come!\")")
        await one.says(r"heard .*player=1 ")
        for process in (one, other, host):
            assert process.stop() == 0
            assert "failed" not in process.log


async def test_the_rack_is_watched(hydramesh: heads.Head, tmp_path: Path) -> None:
    probe = tmp_path / "temperature"
    probe.write_text("31000\n")
    text = program_with("defsensor").replace("/sys/class/hwmon/hwmon0/temp1_input", str(probe))
    program = tmp_path / "rack.lisp"
    program.write_text(text, "utf-8")
    async with ProgramProcess(hydramesh, program, heads="") as process:
        probe.write_text("36500\n")
        assert "36.5" in await process.says(r"a rack is hot .*")
        await process.says(r"a task was not answered .*HEAD_UNREACHABLE")
