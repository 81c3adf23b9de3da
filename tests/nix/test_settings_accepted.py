"""The settings files that the modules write are taken by the daemons that read them."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from daiic.gateway.settings import GatewaySettings
from daiic.head.settings import HeadSettings
from daiic.service import settings
from daiic.worker.settings import WorkerSettings
from nix.evaluation import ROOT
from systemd import render

KINDS: dict[str, type[msgspec.Struct]] = {
    "head": HeadSettings,
    "worker": WorkerSettings,
    "gateway": GatewaySettings,
}
PROGRAMS = {
    "shim": [ROOT / "src/target" / profile / "dcf-shim" for profile in ("debug", "release")],
    "hydramesh": [ROOT / "src/hydramesh/build/hydramesh"],
    "programs": [ROOT / "src/hydramesh/build/hydramesh"],
}
COMMANDS = {"programs": ("run",)}
LISTEN = {"programs": "--domain-listen"}
WRITTEN = sorted(render.RENDERED.rglob("*.toml"))


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(render.RENDERED)))
def test_daemon_takes_its_settings_file(path: Path) -> None:
    if path.stem in PROGRAMS:
        program = next((path for path in PROGRAMS[path.stem] if path.exists()), None)
        if program is None:
            pytest.skip(f"not built: make {path.stem}")
        # An unknown key, or a value of the wrong type, ends it before it listens.
        said = subprocess.run(
            [
                *(program, *COMMANDS.get(path.stem, ())),
                *("--config", path, LISTEN.get(path.stem, "--listen"), "nowhere"),
            ],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "listen" in said.stderr and str(path) not in said.stderr
        return
    settings.load(KINDS[path.stem], f"daiic-{path.stem}", ["--config", str(path)], {})
