"""Runs one whole-machine test: the machines rendered for it, and its script.

The script is the one that NixOS's test driver runs; its machines are rendered
from the same Nix modules into tests/systemd/rendered/<test>/<machine>/.
"""

import contextlib
import json
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from systemd.vm.image import Image
from systemd.vm.machine import Machine, Network

TESTS = Path(__file__).parents[2]
RENDERED = TESTS / "systemd" / "rendered"
SCRIPTS = TESTS / "nixos"


def names() -> list[str]:
    """Return the names of the tests that have rendered machines."""
    return sorted(folder.name for folder in RENDERED.iterdir() if folder.is_dir())


def run(name: str, image: Image, accelerator: str) -> None:
    """Run the test; its protocol goes to standard output.

    Raises:
        TestFailure, or what the script raises.
    """
    folders = {folder.name: folder for folder in sorted((RENDERED / name).iterdir())}
    network = Network(tuple(folders), random.randrange(20000, 60000))
    with tempfile.TemporaryDirectory(prefix="daiic-vm-") as scratch:
        machines = {
            machine: _machine(machine, folder, image, network, Path(scratch), accelerator)
            for machine, folder in folders.items()
        }

        def start_all() -> None:
            for machine in machines.values():
                machine.start()

        script = SCRIPTS / f"{name}.py"
        scope: dict[str, object] = {**machines, "start_all": start_all, "subtest": _subtest}
        if len(machines) == 1:
            scope["machine"] = next(iter(machines.values()))
        try:
            exec(compile(script.read_text(), script, "exec"), scope)
        finally:
            for machine in machines.values():
                machine.crash()


def _machine(
    name: str, folder: Path, image: Image, network: Network, scratch: Path, accelerator: str
) -> Machine:
    hardware = json.loads((folder / "machine.json").read_text())
    (scratch / name).mkdir()
    return Machine(
        name=name,
        image=image,
        network=network,
        folder=scratch / name,
        accelerator=accelerator,
        units={
            path.name: path.read_text()
            for path in sorted((*folder.glob("*.service"), *folder.glob("*.path")))
        },
        files={f"/etc/daiic/{path.name}": path.read_text() for path in folder.glob("*.toml")},
        memory_mib=hardware["memorySize"],
        cores=hardware["cores"],
    )


@contextlib.contextmanager
def _subtest(name: str) -> Iterator[None]:
    """Give a part of a script its name in the protocol."""
    print(f"{time.strftime('%H:%M:%S')} --- {name}", flush=True)
    yield


def accelerator(image: Image) -> str:
    """Return "kvm" if a kernel boots under it here, else "tcg".

    /dev/kvm may be there and still not run guests, as under some hypervisors,
    so the kernel is started for a moment; without a disk it ends by itself.
    """
    with contextlib.suppress(subprocess.TimeoutExpired):
        done = subprocess.run(
            [
                *("qemu-system-x86_64", "-accel", "kvm", "-cpu", "max", "-m", "256"),
                *("-nographic", "-no-reboot", "-nic", "none", "-kernel", str(image.kernel)),
                *("-append", "console=ttyS0 panic=-1"),
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=20,
            check=False,
        )
        if b"Linux version" in done.stdout:
            return "kvm"
    return "tcg"
