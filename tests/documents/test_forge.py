"""What the forge reads: workflows that run what the project has, and forms that it accepts."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FORGE = ROOT / ".github"
WORKFLOWS = sorted((FORGE / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (FORGE / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
# Of https://docs.github.com: "Syntax for GitHub's form schema".
ELEMENTS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def jobs(workflow: Path) -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(workflow.read_text())["jobs"])


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(workflow).values() for step in job["steps"]]


def test_there_are_a_check_of_changes_and_a_release() -> None:
    assert [workflow.stem for workflow in WORKFLOWS] == ["ci", "release"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_runs_commands_or_an_action_fixed_to_a_commit(workflow: Path) -> None:
    for step in steps(workflow):
        assert len({"run", "uses"} & set(step)) == 1, step
        assert set(step) <= {"run", "uses", "with", "env", "name"}
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"])


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_everything_is_tested_with_the_script_that_runs_everywhere(workflow: Path) -> None:
    assert ".ci/run" in [step.get("run") for step in steps(workflow)]
    for script in re.findall(r"\.ci/\w+", workflow.read_text()):
        assert (ROOT / script).stat().st_mode & 0o100


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_no_code_of_the_repository_runs_with_leave_to_write(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}
    for job in jobs(workflow).values():
        if "permissions" in job:
            assert not any("checkout" in step.get("uses", "") for step in job["steps"])


def test_scripts_of_the_forge_are_sound(tmp_path: Path) -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed (Debian: apt-get install shellcheck)")
    scripts = [ROOT / ".ci/run", ROOT / ".ci/release"]
    for workflow in WORKFLOWS:
        for number, step in enumerate(steps(workflow)):
            if "run" in step:
                scripts.append(tmp_path / f"{workflow.stem}-{number}.sh")
                scripts[-1].write_text("#!/bin/sh\nset -e\n" + step["run"])
    done = subprocess.run([program, *scripts], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_issue_forms_have_the_shape_that_github_accepts(path: Path) -> None:
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= set(form) <= {"name", "description", "body", "labels"}
    named = [element["id"] for element in form["body"] if element["type"] != "markdown"]
    assert len(set(named)) == len(named)
    for element in form["body"]:
        assert element["type"] in ELEMENTS
        assert set(element) <= {"type", "id", "attributes", "validations"}
        assert "value" in element["attributes"] or element["attributes"]["label"]
        assert ("options" in element["attributes"]) == (element["type"] == "dropdown")
