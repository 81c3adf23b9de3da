"""Everything that the project gives evaluates with a whole nixpkgs.

`DAIIC_NIXPKGS=/path/to/nixpkgs make test-nix` runs this: to the paths of
derivations, offline, with nothing built. An output that warns fails like one
that refuses. What an older nixpkgs lacks is added by whole/since_24_11.nix.
"""

import json
import os
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nix.evaluation import (
    HERE,
    ROOT,
    SHAPED_LIBRARY,
    changed_tree,
    evaluate,
    nix_instantiate,
)
from nix.test_documentation import examples
from systemd import render

if not os.environ.get("DAIIC_NIXPKGS"):
    pytest.skip(
        "no output evaluated whole: DAIIC_NIXPKGS does not name a nixpkgs (make test-nix)",
        allow_module_level=True,
    )

DOCUMENTED = examples()
SYSTEMS = ("x86_64-linux", "aarch64-linux")
SCENARIOS = ("cluster", "hardening", "notify", "secrets")
PACKAGES = (
    *("default", "daiic", "daiic-worker", "dcf", "dcf-shim", "hydramesh", "streamdb"),
    "options-reference",
)
IMAGES = (
    *("mesh-head", "mesh-shim", "mesh-worker-cpu"),
    *(f"hydramesh-{tag}" for tag in ("runtime", "runtime-dev", "runtime-usb4")),
)
ROLES = ("worker", "head", "both", "shell")

# What the project gives, by kind. What only one kind of machine has is named for it.
OUTPUTS = {
    "packages": [f"{system}.{name}" for system in SYSTEMS for name in PACKAGES + IMAGES]
    + [f"x86_64-linux.{name}" for name in ("mesh-worker-nvidia", "mesh-worker-rocm", "iso")],
    "devShells": [f"{system}.{name}" for system in SYSTEMS for name in ("default", "cpu")]
    + ["x86_64-linux.cuda", "x86_64-linux.rocm"],
    "apps": [f"{system}.demo" for system in SYSTEMS],
    "checks": [
        f"{system}.{name}"
        for system in SYSTEMS
        for name in (*SCENARIOS, *PACKAGES[1:-1], "images", "modules")
    ]
    + [f"x86_64-linux.{name}" for name in ("iso-bios", "iso-uefi", "iso-size")],
    "formatter": list(SYSTEMS),
    "templates": ["default"],
    "shell": ["cpu", "cuda", "rocm"],
    "live": ["asks", *ROLES],
    "machines": [
        *("one-line-worker", "head", "hydramesh", "gateway", "shim", "all-roles"),
        *(f"worker-{backend}" for backend in ("cpu", "cuda", "rocm")),
        *(f"worker-auto-{vendor}" for vendor in ("cpu", "nvidia", "amd")),
    ],
}


def whole(attribute: str, *arguments: str, root: Path = ROOT) -> Any:
    """Return the value of an attribute of whole/default.nix; raise with Nix's words instead."""
    done = nix_instantiate(
        *("--eval", "--strict", "--json", "--attr", attribute, *arguments),
        str(root / HERE.relative_to(ROOT) / "whole"),
    )
    said = [line for line in done.stderr.splitlines() if re.search(r"warning:|^trace:", line)]
    if done.returncode != 0 or said:
        raise ValueError("\n".join(said) or done.stderr)
    return json.loads(done.stdout)


def test_every_output_is_known_here() -> None:
    assert whole("names") == {kind: sorted(names) for kind, names in OUTPUTS.items()}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, names in OUTPUTS.items() for name in names]
)
def test_output_evaluates(kind: str, name: str) -> None:
    if name.endswith("options-reference") and not whole("documented"):
        pytest.skip("this nixpkgs came without its doc folder")
    assert whole(f'{kind}."{name}"').startswith("/nix/store/")


def test_torch_is_the_one_that_binary_caches_have() -> None:
    assert whole("nixpkgsOwnTorch") == {"cpu": True, "cuda": True, "rocm": True}


def test_modules_come_to_the_same_without_nixpkgs() -> None:
    assert evaluate(lib=SHAPED_LIBRARY) == evaluate()


@pytest.mark.parametrize("name", DOCUMENTED)
def test_example_of_the_documentation_is_a_whole_machine(name: str, tmp_path: Path) -> None:
    # What an example names may be beside it.
    shutil.copytree(ROOT / "src/hydramesh/examples", tmp_path, dirs_exist_ok=True)
    example = tmp_path / "example.nix"
    example.write_text(DOCUMENTED[name])
    path = whole("examples.it", "--arg", "examples", f"{{ it = {example}; }}")
    assert path.startswith("/nix/store/")


def as_on_debian(text: str) -> str:
    """Return text with the paths that tests/nix/packages.nix gives to programs and settings."""
    text = re.sub(
        r"/nix/store/[^/]+-(?:daiic|daiic-worker|dcf-shim|hydramesh)-[0-9][^/]*/",
        "/opt/daiic/",
        text,
    )
    text = re.sub(r"/nix/store/[^/]+-coreutils-[0-9][^/]*/", "/usr/", text)
    return re.sub(r"/nix/store/[^/]+-(\w+\.toml)", r"/etc/daiic/\1", text)


def lines_by_section(unit: str) -> dict[str, list[str]]:
    """Return a unit's lines in an order of their own, without what NixOS gives to every unit."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in unit.splitlines():
        if line.startswith("["):
            lines = sections.setdefault(line, [])
        elif line and not re.match(r'Environment="(LOCALE_ARCHIVE|PATH|TZDIR)=', line):
            key, _, value = line.partition("=")
            in_order = sorted(value.split()) if key in ("After", "Wants") else [value]
            lines.append(f"{key}={' '.join(in_order)}")
    # NixOS writes no [Install] of a unit that nothing wants.
    return {section: sorted(lines) for section, lines in sections.items() if lines}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_committed_units_equal_what_nixos_writes(scenario: str) -> None:
    for machine, written in whole(f"scenarios.{scenario}").items():
        committed = render.RENDERED / scenario / machine
        units = {path.name: path.read_text() for path in committed.glob("daiic-*")}
        assert set(units) == set(written["units"])
        for name, unit in written["units"].items():
            assert lines_by_section(as_on_debian(unit)) == lines_by_section(units[name]), name
        settings = {path.stem: tomllib.loads(path.read_text()) for path in committed.glob("*.toml")}
        assert json.loads(as_on_debian(json.dumps(written["settings"]))) == settings


@pytest.mark.parametrize(
    ("file", "old", "new", "output", "says"),
    [
        pytest.param(
            "pkgs/transformers.nix",
            "{\n  transformers = atLeast",
            'lib.optionalAttrs (!lib.versionAtLeast python-prev.transformers.version "5.8") {\n'
            "  transformers = atLeast",
            'packages."x86_64-linux.daiic"',
            "infinite recursion",
            id="names-of-an-extension-depend-on-the-set",
        ),
        pytest.param(
            "pkgs/python.nix",
            "    ./bitsandbytes.nix\n",
            "",
            "machines.worker-cpu",
            "unfree",
            id="cuda-is-named-where-it-is-not-used",
        ),
        pytest.param(
            "modules/any_head.nix",
            "userServices = true",
            "userService = true",
            "machines.head",
            "services.avahi.publish.userService' does not exist",
            id="misspelt-option",
        ),
        pytest.param(
            "pkgs/overlay.nix",
            "  dcf-shim = final.callPackage ./dcf-shim.nix { };\n",
            "",
            'packages."x86_64-linux.mesh-shim"',
            "dcf-shim",
            id="package-dropped",
        ),
        pytest.param(
            "flake.nix",
            "            mesh-shim\n",
            "",
            'packages."x86_64-linux.mesh-shim"',
            "mesh-shim",
            id="output-dropped",
        ),
    ],
)
def test_fault_is_seen(
    file: str, old: str, new: str, output: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        whole(output, root=changed_tree(tmp_path, file, old, new))
