"""What a release is made from: a complete source distribution, and a change log to quote."""

import re
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
CHANGELOG = (ROOT / "CHANGELOG.md").read_text("utf-8")
KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_a_tag_that_is_not_the_version_is_refused() -> None:
    done = subprocess.run(
        [ROOT / ".ci/release", "v99.0.0"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "v99.0.0" in done.stderr and VERSION in done.stderr


def test_the_source_distribution_has_what_the_package_is_built_from(tmp_path: Path) -> None:
    subprocess.run(
        [
            sys.executable,
            "-c",
            f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})",
        ],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "setup.py", "LICENSE", "src/proto/daiic.proto"} <= names
    package = ROOT / "src" / "daiic"
    sources = [path for path in package.rglob("*") if path.suffix in (".py", ".js", ".css")]
    assert {str(path.relative_to(ROOT)) for path in sources} <= names


def test_the_change_log_tells_of_the_version_and_what_comes_next() -> None:
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", CHANGELOG, re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == VERSION
    dates = [date for _, date in headings[1:]]
    assert all(dates) and dates == sorted(dates, reverse=True)


def test_changes_are_of_the_usual_kinds() -> None:
    assert set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE)) <= KINDS
