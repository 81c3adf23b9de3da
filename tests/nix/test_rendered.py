"""The committed units of the whole-machine tests are those that the modules give."""

from nix.evaluation import evaluation
from systemd import render


def test_committed_units_equal_what_the_modules_give() -> None:
    expected = render.expected(evaluation()["scenarios"])
    committed = {
        str(path.relative_to(render.RENDERED)): path.read_text()
        for path in render.RENDERED.rglob("*")
        if path.is_file()
    }
    assert committed == expected, "run tests/systemd/render.py and commit what it writes"
