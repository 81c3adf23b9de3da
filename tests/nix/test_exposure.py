"""How exposed the units are, in the figure that systemd-analyze computes from the unit files."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from systemd import render

HARDENING = render.RENDERED / "hardening" / "machine"


@pytest.mark.parametrize("role", ["head", "hydramesh", "gateway", "shim", "worker", "programs"])
def test_exposure_stays_low(role: str, tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / f"daiic-{role}.service"
    # The programs are not on this machine, and without one systemd refuses to look at the unit.
    text = (HARDENING / unit.name).read_text()
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", text, flags=re.MULTILINE))
    done = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=yes", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= 2.0
