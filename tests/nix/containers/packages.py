"""The packages that a worker and a gateway need, without those that only tests use."""

import os
import re
import sysconfig
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

EXTRAS = ("worker", "llama-cpp", "gateway")


def needed() -> dict[str, Distribution]:
    """Return the installed distributions that `daiic[worker,llama-cpp,gateway]` needs, by name."""
    there = distributions(path=[sysconfig.get_path("purelib")])
    installed = {_plain(one.metadata["Name"]): one for one in there}
    found: dict[str, Distribution] = {}
    waiting = [("daiic", frozenset(EXTRAS))]
    seen = set()
    while waiting:
        name, extras = waiting.pop()
        if (name, extras) in seen or name not in installed:
            continue
        seen.add((name, extras))
        found[name] = installed[name]
        for text in installed[name].requires or []:
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in (*extras, "")):
                waiting.append((_plain(requirement.name), frozenset(requirement.extras)))
    return found


def gather(folder: Path) -> Path:
    """Link the files of what is `needed` into `folder`, which is on the same disk; return it."""
    site = Path(sysconfig.get_path("purelib"))
    for distribution in needed().values():
        for file in distribution.files or []:
            source = site / file
            if ".." in file.parts or source.suffix == ".pyc" or not source.is_file():
                continue
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                os.link(source, target)
    return folder


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
