"""Modules depend on each other in one direction: a reader can begin at any end."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import daiic

ROOT = Path(daiic.__file__).parent


def test_no_module_imports_itself_by_way_of_others() -> None:
    imports = {_name(path): path for path in ROOT.rglob("*.py") if "_pb2" not in path.name}
    edges = {name: set(_imported(name, path, imports)) for name, path in imports.items()}
    assert len(edges) > 100
    assert _cycle(edges) == []


def test_a_cycle_is_found_however_long_it_is() -> None:
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}) == ["b", "c", "d", "b"]
    assert _cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imported(name: str, path: Path, modules: dict[str, Path]) -> Iterator[str]:
    """Yield what `name` imports at any place, within functions and for type checkers alone too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None and not node.level, f"{name} has a relative import"
            for alias in node.names:
                member = f"{node.module}.{alias.name}"
                found = member if member in modules else node.module
                # A package's own modules import nothing from it that is not itself a module.
                if found in modules:
                    yield found


def _cycle(edges: dict[str, set[str]]) -> list[str]:
    """Return a path that ends where it begins, empty if there is none."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for following in sorted(edges[name]):
            found = visit(following, [*path, name])
            if found:
                return found
        done.add(name)
        return []

    return next((found for name in sorted(edges) if (found := visit(name, []))), [])


@pytest.mark.parametrize(
    ("daemon", "heavy"),
    [
        ("worker", {"torch"}),  # it reads its settings before
        ("gateway", {"numpy", "soundfile", "authlib", "httpx"}),  # few requests need them, or none
    ],
)
def test_a_daemon_starts_without_what_it_may_never_need(daemon: str, heavy: set[str]) -> None:
    look = f"import sys, daiic.{daemon}.daemon; sys.exit(bool({heavy!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0
