"""The live system becomes what the kernel command line, the key stick and the network say."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from nix.evaluation import ROOT, evaluation

# What the script asks of the machine, as programs that write down what they were asked.
PROGRAMS = {
    "systemctl": 'echo "systemctl $*" >> "$DAIIC_ROOT/asked"',
    "daiic": '[ "$1" = keygen ] && echo daiic-key-made > "$2"',
    "mount": 'cp "$3"/* "$4"/',
    "umount": ":",
    "avahi-browse": 'cat "$DAIIC_ROOT/announced" 2>/dev/null || exit 1',
    "sleep": 'cp "$DAIIC_ROOT/announced-later" "$DAIIC_ROOT/announced"',
}
ANNOUNCED = (
    "+;eth0;IPv4;DAIIC head on big;_daiic._udp;local\n"
    "=;eth0;IPv4;DAIIC head on big;_daiic._udp;local;big.local;10.0.0.5;7717;key=required\n"
    "=;eth0;IPv6;DAIIC head on big;_daiic._udp;local;big.local;fe80::5;7717;key=required\n"
    "=;wlan0;IPv4;DAIIC head on big;_daiic._udp;local;big.local;10.0.0.5;7717;key=required\n"
    "=;eth0;IPv4;DAIIC head on old;_daiic._udp;local;old.local;10.0.0.6;7719;key=required\n"
)


@dataclass(frozen=True)
class Booted:
    """What became of a boot."""

    root: Path
    said: str
    status: int

    def started(self) -> list[str]:
        asked = self.root / "asked"
        lines = asked.read_text().splitlines() if asked.exists() else []
        return [unit for line in lines if " start " in line for unit in line.split()[3:]]

    def drop_in(self, unit: str) -> list[str]:
        folder = self.root / f"run/systemd/system/{unit}.service.d"
        return (folder / "role.conf").read_text().splitlines()[1:]


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    (tmp_path / "proc").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/machine-id").write_text("0123abcdef0123abcdef0123abcdef01\n")
    return tmp_path


def boot(root: Path, command_line: str, answers: str = "") -> Booted:
    (root / "proc/cmdline").write_text(f"init=/nix/store/x/init {command_line} loglevel=4\n")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", str(ROOT / "iso/choose-role.sh")],
        env=os.environ | {"DAIIC_ROOT": str(root), "PATH": f"{root}/programs:{os.environ['PATH']}"},
        input=answers,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return Booted(root, done.stdout + done.stderr, done.returncode)


def key_stick(root: Path) -> None:
    stick = root / "dev/disk/by-label/DAIIC-KEY"
    stick.mkdir(parents=True)
    (stick / "cluster.key").write_text("daiic-key-carried\n")
    (stick / "authorized_keys").write_text("ssh-ed25519 AAAA\n")


def test_live_system_has_every_role_and_starts_none_by_itself() -> None:
    live = evaluation()["live"]
    assert live["refused"] == []
    services = live["services"]
    assert {name: service["wantedBy"] for name, service in services.items()} == {
        "daiic-head": [],
        "daiic-worker": [],
        "daiic-role": ["multi-user.target"],
    }
    assert live["firewall"]["allowedUDPPorts"] == ["7717"]
    assert {"char-kfd", "char-nvidiactl"} < set(
        services["daiic-worker"]["serviceConfig"]["DeviceAllow"]
    )


def test_unattended_worker_takes_the_key_from_the_stick_and_finds_the_heads(machine: Path) -> None:
    key_stick(machine)
    (machine / "announced").write_text(ANNOUNCED)
    booted = boot(machine, "daiic.role=worker")
    assert booted.started() == ["daiic-worker.service"]
    assert booted.drop_in("daiic-worker") == [
        "LoadCredential=cluster-key:/run/daiic/cluster-key",
        "Environment=DAIIC_CLUSTER_KEY_FILE=/run/credentials/daiic-worker.service/cluster-key",
        "Environment=DAIIC_HEADS=10.0.0.5:7717,10.0.0.6:7719",
        "Environment=DAIIC_LISTEN=0.0.0.0:7727",
        "Environment=DAIIC_NAME=live-0123ab",
    ]
    key = machine / "run/daiic/cluster-key"
    assert key.read_text() == "daiic-key-carried\n"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (machine / "run/daiic/authorized_keys").read_text() == "ssh-ed25519 AAAA\n"


def test_worker_waits_for_a_head_to_announce_itself(machine: Path) -> None:
    (machine / "announced-later").write_text(ANNOUNCED)
    booted = boot(machine, "daiic.role=worker daiic.key=none")
    assert "Environment=DAIIC_HEADS=10.0.0.5:7717,10.0.0.6:7719" in booted.drop_in("daiic-worker")
    assert "no head on this network yet" in booted.said


def test_named_heads_are_used_without_looking(machine: Path) -> None:
    booted = boot(machine, "daiic.role=worker daiic.key=none daiic.heads=10.1.1.1:7717")
    assert "Environment=DAIIC_HEADS=10.1.1.1:7717" in booted.drop_in("daiic-worker")


def test_head_without_a_key_makes_one_and_says_how_to_carry_it(machine: Path) -> None:
    booted = boot(machine, "daiic.role=head daiic.key=none")
    assert booted.started() == ["daiic-head.service"]
    assert (machine / "run/daiic/cluster-key").read_text() == "daiic-key-made\n"
    assert "sudo cat /run/daiic/cluster-key" in booted.said


def test_both_without_a_key_stay_on_this_machine(machine: Path) -> None:
    booted = boot(machine, "daiic.role=both daiic.key=none")
    assert booted.started() == ["daiic-head.service", "daiic-worker.service"]
    assert booted.drop_in("daiic-head") == ["Environment=DAIIC_LISTEN=127.0.0.1:7717"]
    assert booted.drop_in("daiic-worker") == ["Environment=DAIIC_HEADS=127.0.0.1:7717"]


def test_shell_starts_nothing(machine: Path) -> None:
    booted = boot(machine, "daiic.role=shell")
    assert booted.status == 0
    assert booted.started() == []


def test_person_is_asked_for_role_and_key(machine: Path) -> None:
    booted = boot(machine, "daiic.heads=10.1.1.1:7717", answers="1\ndaiic-key-typed\n")
    assert booted.started() == ["daiic-worker.service"]
    assert (machine / "run/daiic/cluster-key").read_text() == "daiic-key-typed\n"
    assert "daiic-key-typed" not in booted.said


def test_unknown_role_is_refused_with_the_roles_there_are(machine: Path) -> None:
    booted = boot(machine, "daiic.role=wroker daiic.key=none")
    assert booted.status != 0
    assert "write worker, head, both or shell" in booted.said
