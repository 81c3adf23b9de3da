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
# The other actions that may run, with the inputs that they have at the commit that is named.
OTHERS = {
    "cachix/install-nix-action": {"extra_nix_config"},
    "cachix/cachix-action": {"name", "authToken"},
}
# Of https://docs.github.com: "Syntax for GitHub's form schema".
ELEMENTS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def jobs(workflow: Path) -> dict[str, dict[str, Any]]:
    return dict(yaml.safe_load(workflow.read_text())["jobs"])


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(workflow).values() for step in job.get("steps", [])]


def test_there_are_a_check_of_changes_a_nix_build_and_a_release() -> None:
    assert [workflow.stem for workflow in WORKFLOWS] == ["ci", "nix", "release"]


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_every_step_runs_commands_or_an_action_fixed_to_a_commit(workflow: Path) -> None:
    for step in steps(workflow):
        assert len({"run", "uses"} & set(step)) == 1, step
        assert set(step) <= {"run", "uses", "with", "env", "name", "id", "if"}
        if "uses" in step:
            action, _, commit = step["uses"].partition("@")
            assert re.fullmatch(r"[0-9a-f]{40}", commit)
            if not action.startswith("actions/"):
                assert set(step.get("with", {})) <= OTHERS[action]


@pytest.mark.parametrize("name", ["ci", "release"])
def test_everything_is_tested_with_the_script_that_runs_everywhere(name: str) -> None:
    workflow = FORGE / "workflows" / f"{name}.yml"
    assert ".ci/run" in [step.get("run") for step in steps(workflow)]


def test_a_job_of_another_workflow_is_one_of_the_repository_that_can_be_called() -> None:
    called = [
        (job["uses"], set(job.get("secrets", {})))
        for workflow in WORKFLOWS
        for job in jobs(workflow).values()
        if "uses" in job
    ]
    assert called
    for path, secrets in called:
        # YAML reads the key `on` as true.
        triggers = yaml.safe_load((ROOT / path).read_text())[True]
        assert set(triggers["workflow_call"]["secrets"]) == secrets


def test_what_nix_builds_is_pushed_only_where_there_is_a_cache_and_that_is_said() -> None:
    build = jobs(FORGE / "workflows" / "nix.yml")
    pushes = [step for job in build.values() for step in job["steps"] if "authToken" in str(step)]
    assert pushes
    assert {step["if"] for step in pushes} == {"vars.CACHIX_NAME != ''"}
    (said,) = [step for step in build["outputs"]["steps"] if step.get("if")]
    assert said["if"] == "vars.CACHIX_NAME == ''" and "::notice::" in said["run"]


def test_what_a_release_publishes_is_checked_and_signed_first() -> None:
    release = jobs(FORGE / "workflows" / "release.yml")
    assert set(release["publish"]["needs"]) == {"build", "nix"}
    order = " ".join(str(step) for step in release["publish"]["steps"])
    assert order.index("sha256sum --check") < order.index("attest-build-provenance")
    assert order.index("attest-build-provenance") < order.index("gh release create")


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_scripts_that_are_run_exist(workflow: Path) -> None:
    for script in re.findall(r"\.ci/\w+", workflow.read_text()):
        assert (ROOT / script).stat().st_mode & 0o100


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_no_code_of_the_repository_runs_with_leave_to_write(workflow: Path) -> None:
    assert yaml.safe_load(workflow.read_text())["permissions"] == {"contents": "read"}
    for job in jobs(workflow).values():
        if "permissions" in job:
            used = [step.get("uses", "") for step in job["steps"]]
            assert not any("checkout" in action for action in used)
            assert all(action.startswith("actions/") for action in used if action)


def test_scripts_of_the_forge_are_sound(tmp_path: Path) -> None:
    program = shutil.which("shellcheck")
    if program is None:
        pytest.skip("shellcheck is not installed (Debian: apt-get install shellcheck)")
    scripts = sorted((ROOT / ".ci").iterdir())
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
