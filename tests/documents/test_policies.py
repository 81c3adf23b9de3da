"""docs/policies.md tells of policies what the program does."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "policies.md").read_text("utf-8")
LISP = ROOT / "src" / "hydramesh"
PROGRAM = LISP / "build" / "hydramesh"
POLICIES = re.findall(r"^```lisp\n(.*?)^```$", DOCUMENT, re.M | re.S)
WRONG = re.findall(r"^```lisp-wrong\n(.*?)^```$", DOCUMENT, re.M | re.S)


def check(folder: Path, name: str, text: str) -> "subprocess.CompletedProcess[str]":
    if not PROGRAM.exists():
        pytest.skip("not built: make hydramesh")
    (folder / name).write_text(text, "utf-8")
    return subprocess.run(
        [PROGRAM, "policy", "check", name], cwd=folder, capture_output=True, text=True, timeout=60
    )


def shown_for(name: str) -> str:
    """Return what the document says that the check of a file prints."""
    (shown,) = re.findall(
        rf"^```console\n\$ hydramesh policy check {name}\n(.*?)^```$", DOCUMENT, re.M | re.S
    )
    return str(shown)


@pytest.mark.parametrize("text", POLICIES, ids=lambda text: text.split('"')[1])
def test_each_policy_in_the_document_is_one(text: str, tmp_path: Path) -> None:
    done = check(tmp_path, "a.policy", text)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_check_prints_what_the_document_shows(tmp_path: Path) -> None:
    right = check(tmp_path, "house.policy", POLICIES[0])
    assert (right.returncode, right.stdout) == (0, shown_for("house.policy"))
    wrong = check(tmp_path, "wrong.policy", WRONG[0])
    assert (wrong.returncode, wrong.stderr) == (1, shown_for("wrong.policy"))


def test_each_form_in_the_tables_is_read(tmp_path: Path) -> None:
    effects, conditions = (
        re.findall(
            r"`([^`]+)`",
            "\n".join(row.split(" | ")[0] for row in table.split("\n\n")[0].split("\n")[2:]),
        )
        for table in (
            DOCUMENT.split("| form | what it does |")[1],
            DOCUMENT.split("| form | is true if |")[1],
        )
    )
    given = {
        "(= a b)": "(= worker.load 3)",
        "(/= a b)": "(/= worker.load 3)",
        **{f"({sign} a b)": f"({sign} worker.load 3)" for sign in ("<", "<=", ">", ">=")},
        "(weight NUMBER)": "(weight 3)",
        "(reserve CONDITION (for …) (share …) (others …))": (
            "(reserve worker.loaded (for task.streaming) (share 50 %) (others worker.loaded))"
        ),
    }
    rules = [
        f'(rule "{number}" {given.get(form, form).replace("CONDITION", "worker.loaded")})'
        for number, form in enumerate(effects)
    ] + [
        f'(rule "c{number}" (exclude {given.get(form, form).replace("…", "worker.loaded")}))'
        for number, form in enumerate(conditions)
    ]
    assert len(effects) >= 11 and len(conditions) >= 14
    price = "(price power (otherwise 0.30 EUR/kWh))"
    done = check(tmp_path, "a.policy", f'(policy "forms" {price} {" ".join(rules)})')
    assert (done.returncode, done.stderr) == (0, "")


def test_every_field_is_told_about_as_the_program_knows_it() -> None:
    source = (LISP / "policy" / "views.lisp").read_text("utf-8")
    known = re.findall(r'^  \([a-z-]+ "([a-z.-]+)" .* "((?:[^"\\]|\\.)+)"\)+$', source, re.M)
    told = re.findall(
        r"^\| `((?:task|worker|time|head)\.[a-z-]+)` \| [a-z ]+: (.*) \|$", DOCUMENT, re.M
    )
    assert [name for name, _ in told] == [name for name, _ in known]
    for (name, text), (_, about) in zip(told, known, strict=True):
        assert text.startswith(about.replace('\\"', '"')), name


def test_every_bound_is_told() -> None:
    source = (LISP / "policy" / "limits.lisp").read_text("utf-8")
    known = {
        name.replace("-", "_"): int(value or 0) + (int(base or 0) << int(shift or 0))
        for name, base, shift, value in re.findall(
            r"^\(defconstant \+([a-z-]+)\+ (?:\(ash (\d+) (\d+)\)|(\d+)) ", source, re.M
        )
    }
    table = DOCUMENT.split("\n## Bounds\n")[1]
    assert len(known) == source.count("(defconstant")
    assert {
        name: int(value) for name, value in re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.M)
    } == known


def test_the_explanation_prints_what_the_document_shows(tmp_path: Path) -> None:
    if not PROGRAM.exists():
        pytest.skip("not built: make hydramesh")
    (cluster,) = re.findall(r"^```json\n(.*?)^```$", DOCUMENT, re.M | re.S)
    command, shown = re.findall(
        r"^```console\n\$ hydramesh (policy explain .*?[^\\])\n(.*?)^```$", DOCUMENT, re.M | re.S
    )[0]
    (tmp_path / "house.policy").write_text(POLICIES[0], "utf-8")
    (tmp_path / "cluster.json").write_text(cluster, "utf-8")
    done = subprocess.run(
        [PROGRAM, *shlex.split(command.replace("\\\n", ""))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr, done.stdout) == (0, "", shown)
