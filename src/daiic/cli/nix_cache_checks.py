"""What `daiic doctor` says of Nix: whether it would fetch torch for this GPU or compile it."""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass

from daiic.cli.findings import Finding
from daiic.cli.machine_checks import AMD, NVIDIA

FLAGS = ("--extra-experimental-features", "nix-command")
PATIENCE = 5.0
"""Seconds that Nix has to tell its settings."""
MOST_SETTINGS = 1 << 20
"""Bytes of settings that are read; Nix writes a few KiB."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A binary cache: where it is, and the key that its packages are signed with."""

    url: str
    key: str


NIXOS = Cache(
    "https://cache.nixos.org",
    "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=",
)
CUDA = Cache(
    "https://cache.nixos-cuda.org",
    "cache.nixos-cuda.org:74DUi4Ye579gUqzH4ziL9IyiJBlDpMRn9MBN8oNan9M=",
)
# NixOS' own cache has builds for ROCm, but none for CUDA because of its licence.
_CACHES = {NVIDIA: ("CUDA", CUDA), AMD: ("ROCm", NIXOS)}


def check_nix_caches(vendors: set[str]) -> list[Finding]:
    """Return a finding for each vendor of this machine's GPUs; none where there is no Nix."""
    program = shutil.which("nix")
    wanted = [(platform, cache) for name, (platform, cache) in _CACHES.items() if name in vendors]
    if program is None or not wanted:
        return []
    deadline = time.monotonic() + PATIENCE
    # The first is the command's name from Nix 2.20 on.
    for command in (["config", "show"], ["show-config"]):
        settings = _settings([program, *FLAGS, *command], deadline)
        if settings:
            return [_finding(platform, cache, settings) for platform, cache in wanted]
    return [
        Finding(
            "note",
            "Nix caches",
            "nix did not say which binary caches it uses",
            f"see what this prints: nix {' '.join(FLAGS)} config show",
        )
    ]


def _settings(command: list[str], deadline: float) -> dict[str, set[str]]:
    """Return the words of each of Nix's settings by name; nothing if it fails or writes much."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return {}
    assert process.stdout is not None
    text = b""
    with process.stdout as output:
        while len(text) <= MOST_SETTINGS:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([output], [], [], left)[0]:
                break
            part = os.read(output.fileno(), 1 << 16)
            if not part:
                break
            text += part
    # A program that wrote everything ends now; one that has not been waited for keeps its group.
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(max(0.0, deadline - time.monotonic()))
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode != 0:
        return {}
    lines = re.findall(r"^([a-z-]+) = (.*)$", text.decode("utf-8", "replace"), re.MULTILINE)
    return {name: set(value.split()) for name, value in lines}


def _finding(platform: str, cache: Cache, settings: dict[str, set[str]]) -> Finding:
    # A cache may be named with parameters: https://cache.nixos.org/?priority=10.
    urls = {url.partition("?")[0].rstrip("/") for url in settings.get("substituters", ())}
    if cache.url not in urls:
        missing = f"{cache.url} is not among its substituters"
    elif cache.key not in settings.get("trusted-public-keys", ()):
        missing = f"the key of {cache.url} is not among its trusted-public-keys"
    elif settings.get("substitute") == {"false"}:
        missing = "its setting `substitute` is false"
    else:
        return Finding("ok", "Nix caches", f"Nix looks for {platform} builds at {cache.url}")
    return Finding(
        "warning",
        "Nix caches",
        f"Nix would compile torch for {platform}, which takes hours: {missing}",
        f"in /etc/nix/nix.conf: extra-substituters = {cache.url} and extra-trusted-public-keys = "
        f"{cache.key}; on NixOS: nix.settings.substituters and nix.settings.trusted-public-keys",
    )
