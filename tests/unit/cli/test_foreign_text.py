"""Names, messages and answers of other machines, as a terminal and a pipe get them."""

import asyncio
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from rich.text import Text

from daiic.cli import models, status
from daiic.cli.exits import out, write
from daiic.cli.status import cluster_view, size
from daiic.wire import daiic_pb2 as pb
from fuzz import driver, shown_names

CLEAR = "\x1b[2Jcleared"


@pytest.fixture
def restored_logs() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.usefixtures("restored_logs")
def test_no_text_of_the_cluster_is_obeyed_by_a_terminal_or_a_log() -> None:
    inputs = driver.inputs(100, 7, shown_names.SAMPLES, shown_names.WORDS)
    assert driver.run(shown_names.target(), inputs) == 100


def test_what_a_model_writes_is_harmless_on_a_terminal_and_exact_in_a_pipe(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = f"{CLEAR} [bold] :heart:\r\n\tשלום می\u200cخواهم 👩\u200d🚀"
    with shown_names.terminal() as screen:
        write(said)
    assert (
        screen.getvalue()
        == f"\\x1b[2Jcleared [bold] :heart:\n{' ' * 8}שלום می\u200cخواهم 👩\u200d🚀"
    )
    write(said)
    assert capsys.readouterr().out == said


class Target:
    """A command's target whose cluster has one worker that calls everything `name`."""

    def __init__(self, name: str) -> None:
        self._status = pb.ClusterStatus()
        beat = self._status.workers.add().heartbeat
        beat.worker_id = beat.name = beat.device = name
        beat.state = beat.backend = 77
        beat.ram.total, beat.ram.free = 1, 2**63
        beat.models.add(name=name, kind=77, state=77, bytes=2**63)
        for _ in range(2):
            self._status.heads.add(id=name, address=name, version=name, state=77)

    def mesh(self) -> "Target":
        return self

    async def __aenter__(self) -> "Target":
        return self

    async def __aexit__(self, *error: Any) -> None:
        pass

    async def status(self, asked: pb.StatusTask | None = None) -> pb.ClusterStatus:
        return self._status


@pytest.mark.parametrize("name", [CLEAR, "[/nope]", "[bold]b", ":heart:", "a\nb\u202ec"])
@pytest.mark.parametrize("command", ["status", "models list"])
def test_names_are_shown_as_they_are_or_escaped(
    name: str, command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out, "width", 200)
    if command == "status":
        asyncio.run(status._status(False, False, pb.StatusTask(), Target(name)))
    else:
        asyncio.run(models._list(False, Target(name)))
    shown = name.replace("\x1b", "\\x1b").replace("\n", "\\n").replace("\u202e", "\\u202e")
    said = capsys.readouterr().out
    assert shown.replace("\\n", "\\x0a") in said
    assert "unknown" in said and "8.0 EiB" in said


def test_a_worker_of_a_newer_version_is_shown_and_listed_for_scripts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asyncio.run(models._list(True, Target("new")))
    assert '"state": "unknown"' in capsys.readouterr().out


def test_sizes_beyond_all_reason_are_still_sizes() -> None:
    assert [size(2**number) for number in (0, 35, 45, 64)] == [
        *("1 B", "32.0 GiB", "32.0 TiB", "16.0 EiB")
    ]
    assert not isinstance(cluster_view(Target("x")._status), Text)


def test_status_says_what_runs_a_loaded_model_and_why() -> None:
    cluster = pb.ClusterStatus()
    model = cluster.workers.add().heartbeat.models.add(
        name="m", state=pb.LOADED, engine="llama.cpp", choice="a GGUF\x1b[2J"
    )
    assert status.how(model) == "llama.cpp: a GGUF\\x1b[2J"
    with shown_names.terminal() as screen:
        status.out.print(cluster_view(cluster))
    assert "llama.cpp:" in screen.getvalue()
