"""`hydramesh usb4 doctor` says what is there, and of what is missing, what to do."""

import os
import subprocess
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from daiic.wire.keyfile import ClusterKey
from support.links.cable import Cable
from support.links.machines import inside, machines
from support.processes.head_process import HeadProcess
from support.processes.heads import Head

Tree = Mapping[str, str | None]
"""Files by their paths below /sys; a folder has `None`."""

DOCUMENT = (Path(__file__).parents[3] / "docs" / "operations.md").read_text("utf-8")
BUS = "bus/thunderbolt/devices"
HOST = {
    f"{BUS}/domain0/security": "user\n",
    f"{BUS}/0-0/vendor_name": "This machine's vendor\n",
    f"{BUS}/0-0/authorized": "1\n",
}
PEER = {
    f"{BUS}/0-1/vendor_name": "Linux\n",
    f"{BUS}/0-1/device_name": "other-machine\n",
    f"{BUS}/0-1/rx_speed": "20.0 Gb/s\n",
    f"{BUS}/0-1/rx_lanes": "2\n",
    f"{BUS}/0-1.0/key": "network\n",
}
NETWORK = {"class/net/thunderbolt0/carrier": "1\n", "class/net/thunderbolt0/mtu": "65520\n"}
DRIVER: Tree = {"module/thunderbolt_net": None}


def doctor(
    head: Head, *arguments: object, tree: Tree | None = None, folder: Path | None = None
) -> tuple[int, str]:
    """Return status and output of the command, on a tree of sysfs that is made in `folder`."""
    words = ["usb4", "doctor", *map(str, arguments)]
    if tree is not None and folder is not None:
        for name, content in tree.items():
            path = folder / "sys" / name
            (path if content is None else path.parent).mkdir(parents=True, exist_ok=True)
            if content is not None:
                path.write_text(content, "utf-8")
        words += ["--sysfs", str(folder / "sys")]
    done = subprocess.run(
        [*head.command, *words],
        env={**os.environ, **head.environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("tree", "lines"),
    [
        ({}, ["--    this kernel knows no Thunderbolt", "--    the driver thunderbolt-net is not"]),
        ({BUS: None}, ["--    no controller: it may be switched off in the firmware"]),
        (
            HOST,
            [
                "ok    controller domain0, security level user",
                "--    no other machine: connect both by a Thunderbolt or USB4 cable",
                "--    the driver thunderbolt-net is not loaded: `modprobe thunderbolt-net`",
                "--    no network device",
            ],
        ),
        (
            HOST | PEER | NETWORK | DRIVER,
            [
                "ok    machine 0-1, Linux other-machine, 2 × 20.0 Gb/s",
                "ok    driver thunderbolt-net",
                "ok    network device thunderbolt0, MTU 65520",
            ],
        ),
        (
            HOST | {k: v for k, v in PEER.items() if "key" not in k},
            ["--    machine 0-1, Linux other-machine, 2 × 20.0 Gb/s: it offers no network"],
        ),
        (
            HOST
            | {
                f"{BUS}/0-3/authorized": "0\n",
                f"{BUS}/0-3/device_name": "Dock\n",
                f"{BUS}/0-3/unique_id": "c4010000-0000-6c0e-83e2\n",
            },
            ["--    device 0-3, Dock, not authorised: `boltctl enroll c4010000-0000-6c0e-83e2`"],
        ),
        (
            NETWORK | {"class/net/thunderbolt0/mtu": "1500\n"},
            ["note  larger datagrams take less work: `ip link set thunderbolt0 mtu 65520`"],
        ),
        (
            NETWORK | {"class/net/thunderbolt0/carrier": "0\n"},
            ["--    network device thunderbolt0 is down, or has no cable: `ip link set"],
        ),
    ],
    ids=["nothing", "no controller", "alone", "all", "no network", "dock", "small MTU", "down"],
)
def test_it_says_what_is_there_and_what_to_do(
    tree: Tree, lines: list[str], hydramesh: Head, tmp_path: Path
) -> None:
    status, said = doctor(hydramesh, tree={"x": None, **tree}, folder=tmp_path)
    assert status == 1
    for line in lines:
        assert f"  {line}" in said, said
    assert " 0-0" not in said, "this machine is not plugged into itself"
    assert "--    a cable leads to another machine, which takes a cluster key" in said


def test_the_document_shows_what_it_says(hydramesh: Head, tmp_path: Path) -> None:
    ClusterKey.generate().save(tmp_path / "key")
    flags = ("--cluster-key-file", tmp_path / "key")
    status, said = doctor(hydramesh, *flags, tree=HOST | DRIVER, folder=tmp_path)
    shown = DOCUMENT.split("# hydramesh usb4 doctor")[1].split("```")[0].split("\n", 1)[1]
    assert (status, said) == (1, shown)


def test_names_of_what_is_plugged_in_cannot_write_on_the_terminal(
    hydramesh: Head, tmp_path: Path
) -> None:
    name = "\x1b[2J\x1b[31m" + "evil\u202e" * 500
    tree = HOST | {f"{BUS}/0-1/device_name": name, f"{BUS}/0-1/vendor_name": "a\nb\n"}
    tree |= {f"{BUS}/0-2/device_name": "x" * 10_000, f"{BUS}/0-2/authorized": "0\n"}
    tree |= {f"{BUS}/1-{number:x}/authorized": "1\n" for number in range(2, 400)}
    _, said = doctor(hydramesh, tree=tree, folder=tmp_path)
    assert "\x1b" not in said and "\u202e" not in said and "a\\x0ab" in said
    assert len(said.splitlines()) < 100 and "and 336 more" in said
    assert max(map(len, said.splitlines())) < 3000


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "name a command: doctor"),
        (("docter",), "there is no command docter; it is doctor"),
        (("doctor", "--sysfs"), "argument --sysfs: expected one argument"),
        (("doctor", "--sysfs", "/sys", "here"), "unrecognized arguments: here"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], reason: str, hydramesh: Head) -> None:
    words = [*hydramesh.command, "usb4", *arguments]
    done = subprocess.run(words, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stdout) == (2, "") and reason in done.stderr


async def test_it_measures_those_at_the_other_end(hydramesh: Head, tmp_path: Path) -> None:
    ClusterKey.generate().save(tmp_path / "key")
    ClusterKey.generate().save(tmp_path / "other-key")
    with machines("one", "other") as (one, other):
        Cable((one, other))
        async with AsyncExitStack() as stack:
            with inside(other):
                head = HeadProcess(
                    kind=hydramesh,
                    cluster_key_file=tmp_path / "key",
                    http_listen="",
                    usb4_enabled=True,
                )
                await stack.enter_async_context(head)
            with inside(one):
                status, said = doctor(hydramesh, "--cluster-key-file", tmp_path / "key")
                assert status == 0, said
                assert "round trip" in said and "Gbit/s there, in datagrams of 65474 bytes" in said
                print(said)
                status, said = doctor(hydramesh, "--cluster-key-file", tmp_path / "other-key")
                assert status == 1
                assert "nobody with this cluster's key on thunderbolt0" in said
