"""The shim's own tests in Rust: wire vectors, properties, and hostile peers, fuzzed as well."""

import os
import re
import subprocess

import pytest

from integration.shim.conftest import SHIM


def test_rust_tests_pass(binary: str) -> None:
    done = subprocess.run(
        [SHIM / "build.sh", "test", "--quiet"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert done.stdout.count("test result: ok") >= 3


def test_fuzzer_finds_nothing_in_its_first_thousand_runs(binary: str) -> None:
    done = subprocess.run(
        [SHIM / "build.sh", "fuzz", "-seed=1", "-runs=1000", "-print_final_stats=1"],
        env={**os.environ, "PROFILE": "dev"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    if "there is no libFuzzer" in done.stderr:
        pytest.skip("the shim is not fuzzed: no libFuzzer (apt install libclang-rt-19-dev)")
    assert done.returncode == 0, done.stderr[-5000:]
    # Without its instrumentation it would find nothing either.
    reached = re.findall(r"cov: (\d+)", done.stderr)
    assert int(reached[-1]) > 1000
