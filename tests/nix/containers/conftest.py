"""The images, built once, and podman, for all that runs them."""

from collections.abc import Iterator

import pytest

from nix.containers import engine
from nix.containers.engine import NETWORK, RUN, Podman


@pytest.fixture(scope="session")
def scripts() -> dict[str, str]:
    return engine.build()


@pytest.fixture(scope="session")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Podman]:
    podman = Podman(tmp_path_factory.mktemp("podman"))
    podman.run("network", "create", NETWORK)
    yield podman
    podman.close()


@pytest.fixture(scope="session")
def images(scripts: dict[str, str], podman: Podman) -> dict[str, str]:
    return {name: podman.load(scripts[name]) for name in RUN}
