"""Builds HydraMesh's images from their Containerfile, on bases that are made here.

Debian's is mmdebstrap's; Rust's is that with this machine's own toolchain and Debian's crates.
"""

import re
import shutil
import subprocess
from pathlib import Path

from nix.containers.engine import TAGS, Podman
from nix.evaluation import ROOT

DEBIAN, RUST = "localhost/debian:base", "localhost/rust:base"
# Of the machine, as what runs in podman.sh has none.
NETWORK = ("nsenter", "--net=/run/containers/outside")


def missing() -> str | None:
    """Return what keeps this machine from building the images, or None."""
    for program in ("mmdebstrap", "rustc", "nsenter"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    return None


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [*NETWORK, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


def _build(podman: Podman, file: Path, context: Path, tag: str, *options: str) -> None:
    _run(
        *(podman.program, "build", "--isolation=chroot", "--network=host", "--pull=never"),
        *("--format=docker", "--file", file, "--tag", tag, *options, context),
    )


def build(podman: Podman, folder: Path) -> dict[str, str]:
    """Return the name of the image of each of `TAGS`. `folder` is for files in between."""
    _run("mmdebstrap", "--variant=minbase", "bookworm", folder / "debian.tar")
    _run(podman.program, "import", folder / "debian.tar", DEBIAN)
    (folder / "debian.tar").unlink()
    crates = sorted(set(re.findall(r"librust-[a-z0-9-]+-dev", (ROOT / ".ci/run").read_text())))
    toolchain = subprocess.run(
        ["rustc", "--print", "sysroot"], capture_output=True, text=True, check=True
    ).stdout.strip()
    (folder / "Containerfile").write_text(
        f"FROM {DEBIAN}\n"
        "RUN apt-get update -q && apt-get install -q -y --no-install-recommends"
        f" gcc libc6-dev {' '.join(crates)}\n"
        "COPY bin /usr/local/bin\nCOPY lib /usr/local/lib\n"
    )
    _build(podman, folder / "Containerfile", Path(toolchain), RUST)
    for tag in TAGS:
        _build(
            *(podman, ROOT / "images/hydramesh/Containerfile", ROOT, f"localhost/hydramesh:{tag}"),
            *("--target", tag, f"--build-arg=DEBIAN={DEBIAN}", f"--build-arg=RUST={RUST}"),
        )
    return {tag: f"localhost/hydramesh:{tag}" for tag in TAGS}
