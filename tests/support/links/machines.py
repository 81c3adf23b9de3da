"""Machines in one: network namespaces, each with addresses and cables of its own."""

import contextlib
import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000
"""From linux/sched.h."""
NETWORK = "10.77.0"


def ip(*arguments: str) -> None:
    """Run `ip` of iproute2."""
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextlib.contextmanager
def machines(*roles: str) -> Iterator[list[str]]:
    """Make a namespace for each role and yield their names; skip the test where that can't be."""
    if os.geteuid() != 0:
        pytest.skip("making network namespaces needs root")
    if shutil.which("ip") is None:
        pytest.skip("making network namespaces needs `ip` (Debian: iproute2)")
    with contextlib.ExitStack() as stack:
        names = [f"daiic-{os.getpid()}-{role}" for role in roles]
        for name in names:
            try:
                ip("netns", "add", name)
            except subprocess.CalledProcessError as error:
                pytest.skip(f"no network namespaces here: {error.stderr.strip()}")
            stack.callback(ip, "netns", "del", name)
            ip("-n", name, "link", "set", "lo", "up")
        yield names


def enter(machine: str) -> None:
    """Move this thread into a namespace: sockets and processes that it makes are there."""
    with Path(f"/var/run/netns/{machine}").open() as namespace:
        _set(namespace.fileno())


@contextlib.contextmanager
def inside(machine: str) -> Iterator[None]:
    """Be in a namespace for a while."""
    with Path("/proc/thread-self/ns/net").open() as own:
        enter(machine)
        try:
            yield
        finally:
            _set(own.fileno())


def _set(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Switch:
    """A machine to whose switch others have a cable each; its own address is `NETWORK`.1."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        ip("-n", machine, "link", "add", "switch", "type", "bridge")
        ip("-n", machine, "addr", "add", f"{NETWORK}.1/24", "dev", "switch")
        ip("-n", machine, "link", "set", "switch", "up")
        self._machines: list[str] = []

    def connect(self, machine: str) -> str:
        """Lay a cable to `machine`; return the address that this has then."""
        self._machines.append(machine)
        number = len(self._machines)
        ip("-n", self.machine, "link", "add", f"to{number}", "master", "switch", "type", "veth",
           "peer", "name", "uplink", "netns", machine)  # fmt: skip
        ip("-n", self.machine, "link", "set", f"to{number}", "up")
        ip("-n", machine, "addr", "add", f"{NETWORK}.{number + 1}/24", "dev", "uplink")
        ip("-n", machine, "link", "set", "uplink", "up")
        return f"{NETWORK}.{number + 1}"

    def pull(self, machine: str) -> None:
        """Pull the cable of `machine`, on the side of the switch."""
        self._set(machine, "down")

    def plug(self, machine: str) -> None:
        """Put it back."""
        self._set(machine, "up")

    def _set(self, machine: str, state: str) -> None:
        port = f"to{1 + self._machines.index(machine)}"
        ip("-n", self.machine, "link", "set", port, state)
