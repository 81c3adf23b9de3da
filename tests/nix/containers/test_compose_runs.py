"""images/compose.yaml is run: its machine has the API and the shim, and nothing is left behind."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nix.containers import engine
from nix.containers.engine import Podman, generate, key, until

if reason := engine.missing():
    pytest.skip(f"compose.yaml not run: {reason} (make test-images)", allow_module_level=True)

SERVICES = {f"daiic_{name}_1" for name in ("head", "worker-cpu", "gateway", "shim")}


@pytest.fixture(scope="module")
def cluster_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compose")
    folder.chmod(0o755)
    return key(folder, "cluster.key")


@pytest.fixture(scope="module")
def up(podman: Podman, images: dict[str, str], cluster_key: Path) -> Iterator[Podman]:
    podman.compose(cluster_key, "up", "--detach")
    yield podman
    podman.compose(cluster_key, "down", "--volumes")


@pytest.fixture(scope="module")
def gateway(up: Podman) -> Iterator[httpx.Client]:
    with httpx.Client(base_url="http://127.0.0.1:7700", timeout=300) as client:

        def has_models() -> bool:
            try:
                return bool(client.get("/v1/models").json()["data"])
            except httpx.TransportError:
                return False

        until("the worker to be known", has_models)
        yield client


def test_every_service_of_the_profile_becomes_well(up: Podman) -> None:
    assert up.names() >= SERVICES
    for name in SERVICES:
        until(f"{name} to be well", lambda name=name: up.is_well(name))  # type: ignore[misc]


def test_chat_is_answered_at_the_published_port(gateway: httpx.Client) -> None:
    asked = {
        "model": "daiic-tiny-chat",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 8,
    }
    answer = gateway.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]


def test_client_on_the_machine_is_served_through_the_shim(gateway: httpx.Client) -> None:
    done = generate("127.0.0.1:7737")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_down_leaves_nothing_behind(podman: Podman, up: Podman, cluster_key: Path) -> None:
    podman.compose(cluster_key, "down", "--volumes")
    assert not SERVICES & podman.names()
    assert "daiic_cache" not in podman.run("volume", "ls", "--quiet").split()
