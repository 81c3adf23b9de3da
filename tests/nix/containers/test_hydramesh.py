"""HydraMesh's images, by its Containerfile and by Nix, serve: read-only and without capabilities.

A worker outside does tasks for the head in one, nothing else than its volume can be written to,
and its health check knows when it stands still.

`DAIIC_NIXPKGS=/path/to/nixpkgs make test-images` runs this, as root.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from nix.containers import containerfile, engine
from nix.containers.engine import DAIIC, TAGS, Podman, key, until

if reason := engine.missing() or containerfile.missing():
    pytest.skip(f"no image built or run: {reason} (make test-images)", allow_module_level=True)

KEY = "--env=DAIIC_CLUSTER_KEY_FILE=/run/cluster.key"


@dataclass(frozen=True)
class Built:
    """Where images come from. More megabytes than `most`, and something crept in."""

    most: dict[str, int]
    contains: set[str]
    compiles: bool = False


WAYS = {
    # 73 and 558 when this was written.
    "Containerfile": Built(
        {"runtime": 85, "runtime-usb4": 85, "runtime-dev": 600},
        {"deb/debian/libc6", "deb/debian/libsqlite3-0", "deb/debian/sbcl", "cargo/ring"},
        compiles=True,
    ),
    # 68 and 133, with Debian's programs.
    "Nix": Built(
        {"runtime": 85, "runtime-usb4": 85, "runtime-dev": 150},
        {"nix/hydramesh", "nix/sbcl", "cargo/ring"},
    ),
}


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def built(way: str) -> Built:
    return WAYS[way]


@pytest.fixture(scope="module")
def hydramesh(
    way: str,
    podman: Podman,
    scripts: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[dict[str, str]]:
    """The name of the image of each tag. What runs of them ends with the tests of them."""
    if way == "Nix":
        yield {tag: podman.load(scripts[f"hydramesh-{tag}"]) for tag in TAGS}
    else:
        yield containerfile.build(podman, tmp_path_factory.mktemp("bases"))
    podman.run("rm", "--all", "--force", "--volumes", "--time", "1")


@pytest.fixture(scope="module")
def cluster_key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hydramesh")
    folder.chmod(0o755)
    return key(folder, "cluster.key")


def start(podman: Podman, name: str, image: str, cluster_key: Path, *options: str) -> None:
    podman.start(name, image, f"--volume={cluster_key}:/run/cluster.key:ro", KEY, *options)
    until(f"{name} to be well", lambda: podman.is_well(name))


@pytest.fixture(scope="module")
def head(podman: Podman, hydramesh: dict[str, str], cluster_key: Path) -> Podman:
    start(podman, "hydramesh", hydramesh["runtime"], cluster_key)
    return podman


@pytest.fixture(scope="module")
def worker(
    head: Podman, cluster_key: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A worker with the tiny models, which is no container, for the head in one."""
    folder = tmp_path_factory.mktemp("worker")
    environment = {
        **os.environ,
        "DAIIC_HEADS": f"{head.address('hydramesh')}:7717",
        "DAIIC_CLUSTER_KEY_FILE": str(cluster_key),
        "DAIIC_LISTEN": "0.0.0.0:0",
        "DAIIC_HTTP_LISTEN": "",
        "DAIIC_BACKEND": "cpu",
        "DAIIC_STATE_DIR": str(folder),
        "DAIIC_CACHE_DIR": str(folder),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [DAIIC.with_name("daiic-worker")], env=environment, stdout=log, stderr=log
        )
        until("the worker to be known", lambda: is_ready(head) or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield
        process.terminate()
        process.wait(60)


def is_ready(podman: Podman) -> bool:
    """Return whether the head in the container has a worker."""
    return succeeds(podman, "exec", "hydramesh", "hydramesh", "health", "--ready")


def succeeds(podman: Podman, *arguments: str) -> bool:
    try:
        podman.run(*arguments)
    except AssertionError:
        return False
    return True


def generate(head: str, cluster_key: Path) -> str:
    done = subprocess.run(
        [
            DAIIC,
            "generate",
            "Hello",
            "--max-tokens",
            "8",
            "--model",
            "daiic-tiny-chat",
            "--head",
            head,
        ],
        env=os.environ | {"DAIIC_CLUSTER_KEY_FILE": str(cluster_key)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def inside(podman: Podman, name: str) -> Path:
    """Return the root of a container, as what runs in it sees it."""
    return Path(f"/proc/{podman.state(name)['Pid']}/root")


def files(podman: Podman, image: str, *expression: str) -> list[str]:
    """Return the files of an image that find finds."""
    mounted = podman.run("image", "mount", image).strip()
    found = subprocess.run(
        ["find", mounted, "-xdev", *expression, "-printf", "/%P\n"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    podman.run("image", "unmount", image)
    return found


# ------------------------------------------------------------------ what is in them


def test_images_keep_their_size(podman: Podman, hydramesh: dict[str, str], built: Built) -> None:
    sizes = {
        tag: int(podman.run("image", "inspect", "--format", "{{.Size}}", image)) // 10**6
        for tag, image in hydramesh.items()
    }
    print("MB:", sizes)
    assert {tag: size for tag, size in sizes.items() if size > built.most[tag]} == {}


def test_no_file_gives_its_owners_rights(podman: Podman, hydramesh: dict[str, str]) -> None:
    for image in hydramesh.values():
        assert files(podman, image, "-type", "f", "-perm", "/6000") == []


def test_runtime_has_only_what_the_head_needs(podman: Podman, hydramesh: dict[str, str]) -> None:
    def programs(tag: str) -> set[str]:
        programs = ("-type", "f", "-perm", "/111", "!", "-name", "*.so*")
        return {Path(path).name for path in files(podman, hydramesh[tag], *programs)}

    assert programs("runtime") == programs("runtime-usb4") == {"hydramesh"}
    assert programs("runtime-dev") >= {"hydramesh", "rlwrap", "repl", "sbcl", "build.sh"}
    assert files(podman, hydramesh["runtime"], "-name", "*.lisp") == []
    assert len(files(podman, hydramesh["runtime-dev"], "-path", "*/hydramesh/daemon.lisp")) == 1


def test_bill_of_materials_names_what_is_inside(
    podman: Podman, hydramesh: dict[str, str], built: Built
) -> None:
    for tag, image in hydramesh.items():
        (path,) = files(podman, image, "-type", "f", "-name", "hydramesh.spdx.json")
        mounted = podman.run("image", "mount", image).strip()
        document = json.loads(Path(mounted + path).read_text())
        podman.run("image", "unmount", image)
        assert document["spdxVersion"] == "SPDX-2.3"
        urls = {
            reference["referenceLocator"].split("@")[0]
            for package in document["packages"]
            for reference in package.get("externalRefs", [])
        }
        assert {f"pkg:{name}" for name in built.contains} <= urls, tag
        identities = [package["SPDXID"] for package in document["packages"]]
        assert len(set(identities)) == len(identities)
        contained = {r["relatedSpdxElement"] for r in document["relationships"]}
        assert contained == set(identities)


# ------------------------------------------------------------------ how they run


def test_it_is_an_unprivileged_user_without_capabilities(head: Podman) -> None:
    status = (inside(head, "hydramesh") / "proc/1/status").read_text()
    assert "Uid:\t10001\t10001\t10001\t10001" in status
    assert "CapEff:\t0000000000000000" in status and "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_a_task_is_done_by_a_worker_outside(head: Podman, worker: None, cluster_key: Path) -> None:
    assert generate(f"{head.address('hydramesh')}:7717", cluster_key)
    until("it to be recorded", (inside(head, "hydramesh") / "state/hydramesh.sqlite").exists)


def test_only_its_volumes_can_be_written_to(head: Podman) -> None:
    for folder in ("", "etc", "lib", "var"):
        with pytest.raises(OSError, match="Read-only file system"):
            (inside(head, "hydramesh") / folder / "written").write_text("")
    (inside(head, "hydramesh") / "state" / "written").write_text("")


def test_health_check_fails_while_it_stands_still(head: Podman) -> None:
    check = json.loads(head.run("inspect", "--format", "{{json .Config.Healthcheck}}", "hydramesh"))
    assert check["Interval"] == 30 * 10**9
    pid = int(str(head.state("hydramesh")["Pid"]))
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not head.is_well("hydramesh")
    finally:
        os.kill(pid, signal.SIGCONT)
    until("it to be well again", lambda: head.is_well("hydramesh"))


def test_without_a_key_it_says_what_to_do(podman: Podman, hydramesh: dict[str, str]) -> None:
    podman.start("keyless", hydramesh["runtime"])
    until("it to end", lambda: not podman.state("keyless")["Running"])
    assert podman.state("keyless")["ExitCode"] == 2
    assert "without a cluster key" in podman.said("keyless")


def test_a_port_below_1024_needs_one_capability(
    podman: Podman, hydramesh: dict[str, str], cluster_key: Path
) -> None:
    options = (
        "--env=DAIIC_LISTEN=0.0.0.0:717",
        "--sysctl=net.ipv4.ip_unprivileged_port_start=1024",
    )
    start(podman, "low", hydramesh["runtime"], cluster_key, *options, "--cap-add=NET_BIND_SERVICE")
    volume = f"--volume={cluster_key}:/run/cluster.key:ro"
    podman.start("refused", hydramesh["runtime"], volume, KEY, *options)
    until("it to end", lambda: not podman.state("refused")["Running"])
    assert "cannot listen on 0.0.0.0:717: Permission denied" in podman.said("refused")


def test_dev_looks_into_its_head_and_compiles_the_sources(
    podman: Podman, hydramesh: dict[str, str], cluster_key: Path, built: Built
) -> None:
    start(podman, "dev", hydramesh["runtime-dev"], cluster_key)
    shown = subprocess.run(
        [podman.program, "exec", "--interactive", "dev", "repl"],
        input="(plugins)",
        capture_output=True,
        text=True,
        check=False,
    )
    assert "streamdb" in shown.stdout, shown.stderr
    if not built.compiles:
        pytest.skip("this one has Debian's programs, without the libraries of Lisp")
    compiled = podman.run(
        *(
            "exec",
            "dev",
            "/usr/src/daiic/src/hydramesh/build.sh",
            "lisp",
            "--eval",
            '(asdf:load-system "hydramesh/sha256")',
        ),
        *("--eval", "(print (find-package '#:hydramesh/sha256))", "--quit"),
    )
    assert '#<PACKAGE "HYDRAMESH/SHA256">' in compiled


def test_usb4_looks_for_cables(
    podman: Podman, hydramesh: dict[str, str], cluster_key: Path
) -> None:
    start(podman, "usb4", hydramesh["runtime-usb4"], cluster_key)
    metrics = httpx.get(f"http://{podman.address('usb4')}:7718/metrics").text
    assert 'hydramesh_plugins{plugin="usb4",state="running"' in metrics


def test_it_ends_in_order_when_it_is_told_to(head: Podman) -> None:
    head.run("stop", "--time", "60", "hydramesh")
    assert head.state("hydramesh")["ExitCode"] == 0, head.said("hydramesh")
