"""The whole-machine tests on Debian: real systemd boots the units that the Nix modules give."""

import shutil

import pytest

from systemd.vm import scenario
from systemd.vm.image import Image, build


@pytest.fixture(scope="session")
def image() -> Image:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is missing: apt-get install qemu-system-x86")
    return build()


@pytest.fixture(scope="session")
def accelerator(image: Image) -> str:
    return scenario.accelerator(image)


@pytest.mark.parametrize("name", scenario.names())
def test_scenario(name: str, image: Image, accelerator: str) -> None:
    scenario.run(name, image, accelerator)
