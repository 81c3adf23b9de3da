"""The examples of the documentation and the template are machines that evaluate."""

import re
import shutil
from pathlib import Path

from nix.evaluation import ROOT, evaluate


def examples() -> dict[str, str]:
    """Return the Nix machines in the documentation by where they are; flakes are left out."""
    found = {}
    for page in sorted((ROOT / "docs").glob("*.md")):
        blocks = re.findall(r"^```nix\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        machines = [block for block in blocks if "outputs =" not in block]
        found |= {f"{page.name} {number}": text for number, text in enumerate(machines, 1)}
    template = ROOT / "docs" / "template" / "configuration.nix"
    return found | {"template": template.read_text()}


def test_examples_are_machines_that_nothing_is_wrong_with(tmp_path: Path) -> None:
    # What an example names may be beside it.
    shutil.copytree(ROOT / "src/hydramesh/examples", tmp_path, dirs_exist_ok=True)
    files = []
    for name, text in examples().items():
        files.append(tmp_path / f"{name.replace(' ', '-')}.nix")
        files[-1].write_text(text)
    assert len(files) >= 8
    listed = "[ " + " ".join(map(str, files)) + " ]"
    results = evaluate("--arg", "examples", listed, "--attr", "examples")
    wrong = {
        file.stem: result["refused"] + result["warnings"]
        for file, result in zip(files, results, strict=True)
        if result["refused"] or result["warnings"]
    }
    assert wrong == {}
    assert sum("/opt/daiic" in program for r in results for program in r["programs"].values()) >= 6
