"""The version is written in pyproject.toml; every other place takes it from there or equals it."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from daiic.version import VERSION

ROOT = Path(__file__).parents[2]
SOURCE = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
MANIFESTS = sorted(
    path for path in (ROOT / "src").rglob("Cargo.toml") if "target" not in path.parts
)
LOCKS = [path.with_name("Cargo.lock") for path in MANIFESTS]

# Files that cannot read pyproject.toml, and how each of them writes the version.
WRITTEN = {
    "images/compose.yaml": r"\$\{DAIIC_VERSION:-([^}]+)\}",
    "docs/operations.md": r"alh477/mesh-[\w-]+:([\w.]+)",
}


def toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text())


def test_the_installed_package_has_it() -> None:
    assert VERSION == SOURCE, "the package is installed with another version: run `make lint`"


def test_rust_has_it() -> None:
    packages = [toml(path) for path in MANIFESTS]
    written = [
        kind["version"]
        for manifest in packages
        for kind in (manifest.get("package", {}), manifest.get("workspace", {}).get("package", {}))
        if isinstance(kind.get("version"), str) and kind.get("publish") is not False
    ]
    assert written
    assert set(written) == {SOURCE}


def test_lock_files_have_it() -> None:
    ours = {toml(path)["package"]["name"] for path in MANIFESTS if "package" in toml(path)}
    locked = {
        (package["name"], package["version"])
        for path in LOCKS
        if path.exists()
        for package in toml(path)["package"]
        if package["name"] in ours and "source" not in package
    }
    assert locked
    assert {version for name, version in locked if not name.endswith("-fuzz")} == {SOURCE}


@pytest.mark.parametrize("file", WRITTEN)
def test_files_that_write_it_out_have_it(file: str) -> None:
    found = re.findall(WRITTEN[file], (ROOT / file).read_text())
    assert found
    assert set(found) == {SOURCE}
