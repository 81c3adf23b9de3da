"""The overlay and the flake on a package set in nixpkgs' shape, which needs nothing but Nix.

What breaks with a real nixpkgs because of how it composes package sets breaks here too.
"""

import functools
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from nix.evaluation import ROOT, changed_tree, nix_instantiate

PACKAGES = ("daiic", "daiic-worker", "dcf", "dcf-shim", "hydramesh")
"""Of the project itself."""


def shaped(root: Path) -> Any:
    """Return what a work tree's flake gives on the shaped package set; raise with Nix's words."""
    done = nix_instantiate("--eval", "--strict", "--json", str(root / "tests/nix/shaped"))
    if done.returncode != 0:
        raise ValueError(done.stderr)
    return json.loads(done.stdout)


@functools.cache
def as_it_is() -> dict[str, Any]:
    return dict(shaped(ROOT))


def test_every_output_evaluates_for_both_systems() -> None:
    given = as_it_is()
    everywhere = {"default", "streamdb", *PACKAGES}
    everywhere |= {"mesh-head", "mesh-shim", "mesh-worker-cpu"}
    everywhere |= {f"hydramesh-{tag}" for tag in ("runtime", "runtime-dev", "runtime-usb4")}
    assert set(given["packages"]["aarch64-linux"]) == everywhere
    assert set(given["packages"]["x86_64-linux"]) == everywhere | {
        "mesh-worker-nvidia",
        "mesh-worker-rocm",
    }
    assert set(given["devShells"]["x86_64-linux"]) == {"default", "cpu", "cuda", "rocm"}
    for outputs in (*given["packages"].values(), *given["devShells"].values()):
        assert all(path.endswith(".drv") for path in outputs.values())


def test_worker_on_a_cpu_needs_no_unfree_package() -> None:
    assert set(as_it_is()["withoutUnfree"]) == set(PACKAGES)


def test_each_vendor_gets_a_worker_of_its_own() -> None:
    packages = as_it_is()["packages"]["x86_64-linux"]
    workers = [packages[f"mesh-worker-{vendor}"] for vendor in ("cpu", "nvidia", "rocm")]
    assert len(set(workers)) == 3


def test_packages_and_images_have_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    given = as_it_is()["daiicVersions"]
    images = {name: given.pop(name) for name in list(given) if name.startswith("mesh-")}
    assert given == dict.fromkeys(PACKAGES, version)
    assert len(images) == 5
    assert all(image == {"tag": version, "label": version} for image in images.values())
    assert as_it_is()["hydrameshTags"] == {
        f"hydramesh-{tag}": {"tag": tag, "label": version}
        for tag in ("runtime", "runtime-dev", "runtime-usb4")
    }


@pytest.mark.parametrize("package", ["diffusers", "transformers"])
def test_older_packages_are_raised_to_what_the_project_asks_for(package: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (floor,) = [
        requirement.removeprefix(f"{package}>=")
        for requirement in extras["optional-dependencies"]["worker"]
        if requirement.startswith(f"{package}>=")
    ]
    for nixpkgs in ("older", "newer"):
        given = as_it_is()["versions"][nixpkgs][package]
        assert numbers(given) >= numbers(floor)


def numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def test_packages_that_are_new_enough_stay_nixpkgs_own() -> None:
    assert as_it_is()["untouched"] == {
        "bitsandbytes": True,
        "diffusers": True,
        "safetensors": True,
        "tokenizers": True,
        "transformers": True,
    }


def test_other_programs_keep_the_python_packages_of_nixpkgs() -> None:
    assert as_it_is()["othersPython"]


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        pytest.param(
            "pkgs/transformers.nix",
            "{\n  transformers = atLeast",
            'lib.optionalAttrs (!lib.versionAtLeast python-prev.transformers.version "5.8") {\n'
            "  transformers = atLeast",
            "infinite recursion",
            id="names-of-an-extension-depend-on-the-set",
        ),
        pytest.param(
            "pkgs/python.nix",
            "    ./bitsandbytes.nix\n",
            "",
            "unfree",
            id="cuda-is-named-where-it-is-not-used",
        ),
        pytest.param(
            "pkgs/daiic.nix",
            "      diffusers\n",
            "      difusers\n",
            "difusers",
            id="misspelt-package",
        ),
    ],
)
def test_fault_in_the_packages_is_seen(
    file: str, old: str, new: str, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=says):
        shaped(changed_tree(tmp_path, file, old, new))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("firewall.allowedUDPPorts", "firewall.allowedUDPPort", "not exist"),
        ("queue_size = cfg.queueSize", "queue_size = cfg.queuSize", "queuSize"),
        ('listenOption "127.0.0.1:7717"', 'listenOption "127.0.0.1"', "not of type"),
    ],
    ids=["option-of-nixos", "option-of-its-own", "type"],
)
def test_fault_in_a_module_is_seen(old: str, new: str, says: str, tmp_path: Path) -> None:
    root = changed_tree(tmp_path, "modules/any_head.nix", old, new)
    done = nix_instantiate(
        *("--eval", "--strict", "--json", "--attr", "configurations.one-line-worker"),
        *("--arg", "lib", f"import {root}/tests/nix/shaped/lib.nix"),
        str(root / "tests/nix/evaluate.nix"),
    )
    assert done.returncode != 0
    assert says in done.stderr
