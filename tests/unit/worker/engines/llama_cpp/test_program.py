"""A llama-server is started with options that it knows."""

import shutil
import sys
from pathlib import Path

import pytest

from daiic.worker.engines.llama_cpp.program import Options, command

HELP = "--model, -m FNAME  model path\n--spec-type none,ngram-simple  guesses\n--no-ui"


def program(folder: Path, says: str) -> None:
    file = folder / "llama-server"
    file.write_text(f"#!{sys.executable}\nprint({says!r})\n")
    file.chmod(0o755)


async def test_what_only_helps_is_left_out_where_the_program_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, HELP)
    monkeypatch.setenv("PATH", str(tmp_path))
    started = await command(
        Options(Path("m.gguf"), Path("s.sock"), 100, 2, draft=Path("d.gguf"), lookup=True)
    )
    assert started[0] == shutil.which("llama-server") == str(tmp_path / "llama-server")
    assert started[started.index("--ctx-size") + 1] == "200"
    assert "--no-ui" in started
    assert "--cache-ram" not in started
    assert "d.gguf" not in started
    assert started[-2:] == ["--spec-type", "ngram-simple"]
