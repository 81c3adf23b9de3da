"""The images, built once, and podman, for all that runs them."""

import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nix.containers import engine
from nix.containers.engine import NETWORK, RUN, Podman
from nix.containers.packages import gather


@pytest.fixture(scope="session")
def scripts() -> Iterator[dict[str, str]]:
    # Beside the packages, as these are linked.
    with tempfile.TemporaryDirectory(dir=sysconfig.get_path("data")) as folder:
        yield engine.build(gather(Path(folder)))


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    podman = Podman(tmp_path_factory.mktemp("podman"))
    podman.run("network", "create", NETWORK)
    yield podman
    podman.close()


@pytest.fixture(scope="session")
def images(scripts: dict[str, str], podman: Podman) -> dict[str, str]:
    return {name: podman.load(scripts[name]) for name in RUN}
