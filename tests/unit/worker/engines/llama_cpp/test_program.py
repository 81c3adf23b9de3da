"""A llama-server is started with options that it knows."""

import asyncio
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from daiic.errors import TaskError
from daiic.worker.engines.llama_cpp import program as module
from daiic.worker.engines.llama_cpp.program import Options, command

HELP = "--model, -m FNAME  model path\n--spec-type none,ngram-simple  guesses\n--no-ui"


def program(folder: Path, does: str) -> None:
    file = folder / "llama-server"
    file.write_text(f"#!{sys.executable}\n{does}\n")
    file.chmod(0o755)


async def test_what_only_helps_is_left_out_where_the_program_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, f"print({HELP!r})")
    monkeypatch.setenv("PATH", str(tmp_path))
    started = await command(
        Options(Path("m.gguf"), Path("s.sock"), 100, 2, draft=Path("d.gguf"), lookup=True)
    )
    assert started[0] == shutil.which("llama-server") == str(tmp_path / "llama-server")
    assert started[started.index("--ctx-size") + 1] == "100"
    assert "--no-ui" in started
    assert "--cache-ram" not in started
    assert "d.gguf" not in started
    assert started[-2:] == ["--spec-type", "ngram-simple"]


def processes(folder: Path) -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if str(folder) in str(each.cmdline())]


async def test_a_program_that_never_tells_its_options_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "import time; time.sleep(600)")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "HELP_PATIENCE", 0.2)
    with pytest.raises(TaskError, match="--help` took more"):
        await command(Options(Path("m.gguf"), Path("s.sock"), 100, 2))
    assert not processes(tmp_path)


async def test_a_program_goes_when_nobody_wants_its_options_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "import time; time.sleep(600)")
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = asyncio.create_task(command(Options(Path("m.gguf"), Path("s.sock"), 100, 2)))
    while not processes(tmp_path):
        await asyncio.sleep(0.05)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert not processes(tmp_path)


async def test_options_without_end_are_read_so_far(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "while True: print('--no-ui')")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "--no-ui" in await command(Options(Path("m.gguf"), Path("s.sock"), 100, 2))
    assert not processes(tmp_path)
