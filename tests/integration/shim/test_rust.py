"""The shim's own tests in Rust: wire vectors, properties, hostile datagrams."""

import subprocess

from integration.shim.conftest import SHIM


def test_rust_tests_pass(binary: str) -> None:
    done = subprocess.run(
        [SHIM / "build.sh", "test", "--quiet"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert done.stdout.count("test result: ok") >= 3
