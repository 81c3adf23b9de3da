"""The tests written in Rust, of transport and shim; vectors, properties, hostile peers, fuzzing."""

import os
import re
import subprocess

import pytest

from support.processes.built import WORKSPACE


def test_rust_tests_pass(binary: str) -> None:
    done = subprocess.run(
        [WORKSPACE / "cargo.sh", "test", "--quiet"], capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert done.stdout.count("test result: ok") >= 9


@pytest.mark.parametrize("target", ["bridge", "abi", "paths"])
def test_fuzzer_finds_nothing_in_its_first_thousand_runs(binary: str, target: str) -> None:
    done = subprocess.run(
        [WORKSPACE / "cargo.sh", "fuzz", target, "-seed=1", "-runs=1000", "-print_final_stats=1"],
        env={**os.environ, "PROFILE": "dev"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    if "there is no libFuzzer" in done.stderr:
        pytest.skip("Rust is not fuzzed: no libFuzzer (apt install libclang-rt-19-dev)")
    assert done.returncode == 0, done.stderr[-5000:]
    # Without its instrumentation it would find nothing either.
    reached = re.findall(r"cov: (\d+)", done.stderr)
    assert int(reached[-1]) > 1000
