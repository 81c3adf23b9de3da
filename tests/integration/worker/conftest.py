"""Real heads and workers as processes, with models made on the spot."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.models import tiny_models
from support.processes.daemon import Daemon
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

Start = Callable[..., Daemon]


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with a language model `tiny` and a sentence model `sentences`."""
    folder = tmp_path_factory.mktemp("models")
    tiny_models.language_model(folder / "tiny")
    tiny_models.sentence_model(folder / "sentences")
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start daemons, `start("head")` or `start("worker", heads=[...], models_dir=...)`."""
    running: list[Daemon] = []

    def begin(kind: str, environment: dict[str, str] | None = None, **settings) -> Daemon:
        if kind == "worker":
            folder = tmp_path_factory.mktemp(kind)
            own = {"state_dir": folder / "state", "cache_dir": folder / "cache"}
            daemon = WorkerProcess(environment, **(own | settings))
        else:
            daemon = HeadProcess(environment, **settings)
        daemon.start()
        running.append(daemon)
        return daemon

    yield begin
    for daemon in reversed(running):
        daemon.stop()
