"""A llama-server is started with options that it knows."""

import asyncio
import shutil
import sys
from pathlib import Path

import psutil
import pytest

from daiic.errors import TaskError
from daiic.worker.engines.llama_cpp import llama_server as module
from daiic.worker.engines.llama_cpp.llama_server import LlamaServer
from daiic.worker.engines.llama_cpp.program import Options

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
    started = await LlamaServer().command(
        Options(Path("m.gguf"), Path("s.sock"), 100, 2, draft=Path("d.gguf"), lookup=True)
    )
    assert started[0] == shutil.which("llama-server") == str(tmp_path / "llama-server")
    assert started[started.index("--ctx-size") + 1] == "100"
    assert "--no-ui" in started
    assert "--cache-ram" not in started
    assert "--ctx-checkpoints" not in started
    assert "d.gguf" not in started
    assert started[-2:] == ["--spec-type", "ngram-simple"]


def processes(folder: Path) -> list[psutil.Process]:
    return [each for each in psutil.Process().children() if str(folder) in str(each.cmdline())]


async def test_a_program_that_never_tells_its_options_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "import time; time.sleep(600)")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    with pytest.raises(TaskError, match="--help` took more"):
        await LlamaServer().command(Options(Path("m.gguf"), Path("s.sock"), 100, 2))
    assert not processes(tmp_path)


async def test_a_program_goes_when_nobody_wants_its_options_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "import time; time.sleep(600)")
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = asyncio.create_task(
        LlamaServer().command(Options(Path("m.gguf"), Path("s.sock"), 100, 2))
    )
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
    assert "--no-ui" in await LlamaServer().command(Options(Path("m.gguf"), Path("s.sock"), 100, 2))
    assert not processes(tmp_path)


async def test_it_is_asked_once_until_the_file_is_another(tmp_path: Path) -> None:
    asked = tmp_path / "asked"
    code = f"import sys; open({str(asked)!r}, 'a').write(sys.argv[1] + ' '); print('--no-ui')"
    program(tmp_path, code)
    options = Options(Path("m.gguf"), Path("s.sock"), 100, 2)
    named = LlamaServer(str(tmp_path / "llama-server"))
    for _ in range(2):
        assert "--no-ui" in await named.command(options)
        assert await named.devices() == []
    assert asked.read_text() == "--help --list-devices "
    program(tmp_path, code.replace("--no-ui", "--no-ui --no-warmup"))
    assert "--no-warmup" in await named.command(options)
    assert asked.read_text() == "--help --list-devices --help "


async def test_one_that_is_named_is_taken_and_nothing_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "print('--no-ui')")
    options = Options(Path("m.gguf"), Path("s.sock"), 100, 2)
    started = await LlamaServer(str(tmp_path / "llama-server")).command(options)
    assert started[0] == str(tmp_path / "llama-server")
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = LlamaServer("no-such-llama-server")
    assert not missing.is_there
    with pytest.raises(TaskError, match=r"no-such-llama-server.*llama_server"):
        await missing.command(options)
