"""The images are built and run: a cluster in containers serves, and what is wrong with one is said.

`DAIIC_NIXPKGS=/path/to/nixpkgs make test-images` runs this, as root.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nix.containers import engine
from nix.containers.engine import IMAGES, Podman, generate, key, until
from nix.evaluation import ROOT

if reason := engine.missing():
    pytest.skip(f"no image built or run: {reason} (make test-images)", allow_module_level=True)

# With Debian's programs and PyPI's packages: 397, 24 and 1691. More, and something crept in.
MOST_MEGABYTES = {"mesh-head": 420, "mesh-shim": 26, "mesh-worker-cpu": 1770}


@pytest.fixture(scope="module")
def member(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the options of a member of the cluster."""
    folder = tmp_path_factory.mktemp("keys")
    folder.chmod(0o755)
    return [
        f"--volume={key(folder, 'cluster.key')}:/run/cluster.key:ro",
        "--env=DAIIC_CLUSTER_KEY_FILE=/run/cluster.key",
        "--env=DAIIC_HEADS=head:7717",
    ]


@pytest.fixture(scope="module")
def cluster(podman: Podman, images: dict[str, str], member: list[str]) -> Podman:
    """Start a head, two workers, a gateway and a shim, and wait until all are well."""
    models = f"--volume={ROOT / 'local-models'}:/models:ro"
    # First, when nobody is called head yet.
    podman.start("shim", images["mesh-shim"], "--env=DAIIC_ALLOWED_NETWORKS=10.0.0.0/8", *member)
    podman.start("head", images["mesh-head"], *(o for o in member if "HEADS" not in o))
    for name in ("worker1", "worker2"):
        podman.start(name, images["mesh-worker-cpu"], models, *member)
    podman.start(
        "gateway",
        images["mesh-head"],
        "--entrypoint=/bin/daiic-gateway",
        "--env=DAIIC_LISTEN=0.0.0.0:7700",
        "--env=DAIIC_ALLOW_KEYLESS_PUBLIC=true",
        *member,
    )
    for name in ("head", "worker1", "worker2", "shim", "gateway"):
        until(f"{name} to be well", lambda name=name: podman.is_well(name))  # type: ignore[misc]
    return podman


@pytest.fixture(scope="module")
def gateway(cluster: Podman) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{cluster.address('gateway')}:7700", timeout=300) as client:
        until("both workers to be known", lambda: len(client.get("/v1/models").json()["data"]) >= 2)
        yield client


def test_every_image_builds(scripts: dict[str, str]) -> None:
    assert set(scripts) == set(IMAGES)


def test_images_keep_their_size(podman: Podman, images: dict[str, str]) -> None:
    sizes = {
        name: int(podman.run("image", "inspect", "--format", "{{.Size}}", image)) // 10**6
        for name, image in images.items()
    }
    print(sizes)
    assert {name: size for name, size in sizes.items() if size > MOST_MEGABYTES[name]} == {}


def test_containers_are_an_unprivileged_user_without_capabilities(cluster: Podman) -> None:
    for name in ("head", "worker1", "shim", "gateway"):
        status = Path(f"/proc/{cluster.state(name)['Pid']}/status").read_text()
        assert "Uid:\t10001\t10001\t10001\t10001" in status
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status


def test_cluster_of_containers_answers_a_chat(gateway: httpx.Client) -> None:
    asked = {
        "model": "daiic-tiny-chat",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 8,
    }
    answer = gateway.post("/v1/chat/completions", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["choices"][0]["message"]["content"]


def test_cluster_of_containers_paints(gateway: httpx.Client) -> None:
    asked = {
        "model": "tiny-shapes.safetensors",
        "prompt": "a red circle",
        "response_format": "b64_json",
    }
    answer = gateway.post("/v1/images/generations", json=asked)
    assert answer.status_code == 200, answer.text
    assert answer.json()["data"][0]["b64_json"]


def test_client_without_the_cluster_key_is_served_through_the_shim(cluster: Podman) -> None:
    done = generate(f"{cluster.address('shim')}:7737")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_container_ends_when_it_is_told_to(cluster: Podman) -> None:
    for name in ("worker2", "shim"):
        cluster.run("stop", "--time", "60", name)
        assert cluster.state(name)["ExitCode"] == 0, cluster.said(name)


def ended(podman: Podman, name: str) -> str:
    """Return what a container said that could not start."""
    until(f"{name} to end", lambda: not podman.state(name)["Running"])
    assert podman.state(name)["ExitCode"] not in (0, 137)
    return podman.said(name)


def test_worker_with_another_key_says_so(
    cluster: Podman, images: dict[str, str], tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    cluster.start(
        "stranger",
        images["mesh-worker-cpu"],
        f"--volume={key(tmp_path, 'other.key')}:/run/cluster.key:ro",
        "--env=DAIIC_CLUSTER_KEY_FILE=/run/cluster.key",
        "--env=DAIIC_HEADS=head:7717",
    )
    until("it to say so", lambda: "same cluster key" in cluster.said("stranger"))


def test_worker_without_its_cache_says_so(
    podman: Podman, images: dict[str, str], member: list[str]
) -> None:
    podman.start("bare", images["mesh-worker-cpu"], "--image-volume=ignore", *member)
    said = ended(podman, "bare")
    assert "Traceback" not in said
    assert "/cache" in said


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a file system of one page, which is taken."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4096", "tmpfs", tmp_path], check=True)
    (tmp_path / "filler").write_bytes(bytes(4096))
    tmp_path.chmod(0o1777)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


def test_worker_with_a_full_cache_says_so(
    podman: Podman, images: dict[str, str], member: list[str], full: Path
) -> None:
    podman.start("full", images["mesh-worker-cpu"], f"--volume={full}:/cache", *member)
    said = ended(podman, "full")
    podman.run("rm", "full")
    assert "Traceback" not in said
    assert "/cache" in said and "No space left" in said
