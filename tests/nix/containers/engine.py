"""Builds the images with a nixpkgs and Debian's tools, and runs containers of them with podman."""

import json
import os
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from nix.evaluation import ROOT

T = TypeVar("T")
HERE = Path(__file__).parent
SHIM = ROOT / "src" / "target" / "release" / "dcf-shim"
HYDRAMESH = ROOT / "src" / "hydramesh" / "build" / "hydramesh"
MESH = ("mesh-head", "mesh-shim", "mesh-worker-cpu", "mesh-worker-nvidia", "mesh-worker-rocm")
# Those that need no GPU.
RUN = MESH[:3]
TAGS = ("runtime", "runtime-usb4", "runtime-dev")
IMAGES = (*MESH, *(f"hydramesh-{tag}" for tag in TAGS))
DAIIC = Path(sysconfig.get_path("scripts")) / "daiic"
COMPOSE = Path(sysconfig.get_path("data")) / "compose" / "bin" / "podman-compose"
NETWORK = "daiic-test"
# What every container of the project is started with, and what podman wants without systemd.
HARDENED = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")
PLAIN = ("--cgroups=disabled", "--ulimit=nofile=20000:20000", "--ulimit=nproc=4000:4000")


def missing() -> str | None:
    """Return what keeps this machine from building and running images, or None."""
    if not os.environ.get("DAIIC_NIXPKGS"):
        return "DAIIC_NIXPKGS does not name a nixpkgs"
    for program in (
        "nix-build",
        "podman",
        "crun",
        "iptables",
        "ip",
        "fakeroot",
        "jq",
        "curl",
        "cc",
    ):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            return f"{program} is not installed"
    if os.geteuid() != 0:
        return "only root can"
    for made in (SHIM, HYDRAMESH, COMPOSE):
        if not made.exists():
            return f"there is no {made.name} (make test-images makes it)"
    return None


def build(packages: Path) -> dict[str, str]:
    """Return the script of each image, which writes it to its standard output.

    `packages` is a folder with the packages of Python that are in them.
    """
    done = subprocess.run(
        [
            *("nix-build", "--no-out-link", str(HERE / "debian.nix")),
            *("--option", "build-users-group", "", "--option", "sandbox", "false"),
            *("--argstr", "packages", str(packages)),
            *("--argstr", "buildPackages", sysconfig.get_path("purelib")),
            *("--arg", "shim", str(SHIM)),
            *("--arg", "hydramesh", str(HYDRAMESH)),
            *("--arg", "libdcf", str(SHIM.with_name("libdcf.so"))),
            *(argument for image in IMAGES for argument in ("--attr", image)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(zip(IMAGES, done.stdout.split(), strict=True))


def key(folder: Path, name: str) -> Path:
    """Make a key that the containers' user can read."""
    subprocess.run([DAIIC, "keygen", folder / name], check=True, capture_output=True)
    os.chown(folder / name, 10001, 10001)
    return folder / name


def generate(shim: str) -> subprocess.CompletedProcess[str]:
    """Ask for a few words as a client of the shim that its network vouches for: it has no key."""
    return subprocess.run(
        [
            *(DAIIC, "generate", "Hello", "--max-tokens", "8", "--model", "daiic-tiny-chat"),
            *("--head", shim),
        ],
        env=os.environ | {"DAIIC_ALLOW_UNAUTHENTICATED": "true"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def until(what: str, look: Callable[[], T | None], patience: float = 120) -> T:
    """Return the first truthy answer of `look`, asked again and again; fail in the end."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if answer := look():
            return answer
        time.sleep(0.3)
    raise AssertionError(f"waited {patience:.0f} s for {what}")


class Podman:
    """podman with a store of its own, which `close` removes with all that runs."""

    def __init__(self, root: Path) -> None:
        self._root = root
        # For what calls podman by itself.
        self.program = root / "podman"
        self.program.write_text(
            f'#!/bin/sh\nexec podman --root={root}/store --runroot={root}/run "$@"\n'
        )
        self.program.chmod(0o755)

    def _command(self, *arguments: str) -> list[str]:
        return [str(self.program), *arguments]

    def run(self, *arguments: str, check: bool = True) -> str:
        command = self._command(*arguments)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def load(self, script: str) -> str:
        """Load the image that a script streams and return its name."""
        stream = subprocess.Popen([script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        loaded = subprocess.run(
            self._command("load"),
            stdin=stream.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
        assert stream.wait() == 0 and loaded.returncode == 0, loaded.stderr
        return loaded.stdout.split()[-1]

    def compose(self, cluster_key: Path, *arguments: str) -> None:
        """Run podman-compose on images/compose.yaml, with the worker for a CPU."""
        done = subprocess.run(
            [
                *(COMPOSE, "--file", str(ROOT / "images" / "compose.yaml")),
                *("--project-name", "daiic", "--in-pod", "false", "--profile", "cpu"),
                *("--podman-path", str(self.program), f"--podman-run-args={' '.join(PLAIN)}"),
                *arguments,
            ],
            env=os.environ | {"DAIIC_CLUSTER_KEY": str(cluster_key)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    def start(self, name: str, image: str, *options: str, command: tuple[str, ...] = ()) -> None:
        self.run(
            *("run", "--detach", "--name", name, "--network", NETWORK, *PLAIN, *HARDENED),
            *("--tmpfs", "/tmp", *options, image, *command),
        )

    def names(self) -> set[str]:
        return set(self.run("ps", "--all", "--format", "{{.Names}}").split())

    def state(self, name: str) -> dict[str, object]:
        return dict(json.loads(self.run("inspect", "--format", "{{json .State}}", name)))

    def address(self, name: str) -> str:
        networks = "{{json .NetworkSettings.Networks}}"
        return str(
            json.loads(self.run("inspect", "--format", networks, name))[NETWORK]["IPAddress"]
        )

    def said(self, name: str) -> str:
        done = subprocess.run(
            self._command("logs", name),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout

    def is_well(self, name: str) -> bool:
        state = self.state(name)
        assert state["Running"], self.said(name)
        try:
            self.run("healthcheck", "run", name)
        except AssertionError:
            return False
        return True

    def close(self) -> None:
        self.run("rm", "--all", "--force", "--volumes", "--time", "1", check=False)
        self.run("network", "rm", "--force", NETWORK, "daiic_default", check=False)
        self.run("rmi", "--all", "--force", check=False)
        shutil.rmtree(self._root, ignore_errors=True)
