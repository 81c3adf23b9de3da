"""images/compose.yaml starts what the images are, with settings that their daemons know."""

import re
from typing import Any

import msgspec
import yaml

from daiic.gateway.settings import GatewaySettings
from daiic.head.settings import HeadSettings
from daiic.worker.settings import WorkerSettings
from nix.evaluation import ROOT

IMAGES = ROOT / "images"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((IMAGES / "compose.yaml").read_text())[
    "services"
]


def keys(kind: type[msgspec.Struct]) -> set[str]:
    return {f"DAIIC_{field.name.upper()}" for field in msgspec.structs.fields(kind)}


def test_there_is_a_service_for_every_image() -> None:
    made = set(
        re.findall(r"^  (mesh-[a-z-]+) =", (IMAGES / "default.nix").read_text(), re.MULTILINE)
    )
    started = {service["image"].split(":")[0] for service in SERVICES.values()}
    assert started == {f"alh477/{name}" for name in made}
    assert len(made) == 5


def test_profiles_choose_the_worker() -> None:
    profiles = {name: service.get("profiles") for name, service in SERVICES.items()}
    assert profiles == {
        "head": None,
        "gateway": None,
        "shim": None,
        "worker-nvidia": ["nvidia"],
        "worker-rocm": ["rocm"],
        "worker-cpu": ["cpu"],
    }


def test_every_container_is_confined() -> None:
    for service in SERVICES.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "no-new-privileges:true" in service["security_opt"]


def test_variables_are_settings_that_the_daemons_know() -> None:
    shim = (ROOT / "src/dcf-shim/src/settings.rs").read_text()
    known = {
        "head": keys(HeadSettings),
        "gateway": keys(GatewaySettings),
        "worker": keys(WorkerSettings) | {"HF_TOKEN"},
        "shim": {
            f"DAIIC_{key.upper()}" for key in re.findall(r"^    (\w+): .* = ", shim, re.MULTILINE)
        },
    }
    for name, service in SERVICES.items():
        assert set(service["environment"]) - known[name.split("-")[0]] == set(), name


def test_variables_of_the_images_are_settings_too() -> None:
    text = (IMAGES / "default.nix").read_text()
    named = set(re.findall(r'"(DAIIC_[A-Z_]+)=', text))
    assert len(named) >= 6
    assert named - keys(WorkerSettings) == set()
