"""A cable between two machines, which Linux shows as Thunderbolt's: a pair of veth devices."""

import json
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from support.links.machines import ip

DEVICE = "thunderbolt0"
LARGEST_MTU = 65522
"""As thunderbolt-net allows."""
PATIENCE = 30.0
NOBODY = "02:00:00:00:00:01"
"""A hardware address that nobody has."""


class Cable:
    """Plugged into both machines from the start, with link-local addresses that are usable."""

    def __init__(self, machines: Sequence[str], mtu: int = LARGEST_MTU) -> None:
        self._machines = tuple(machines)
        self._mtu = mtu
        self.plug()

    def plug(self) -> None:
        """Put it in at both ends."""
        one, other = self._machines
        ip("-n", one, "link", "add", DEVICE, "type", "veth", "peer", "name", DEVICE,
           "netns", other)  # fmt: skip
        for machine in self._machines:
            ip("-n", machine, "link", "set", DEVICE, "mtu", str(self._mtu))
            # Nobody else is on it who could have the same address.
            ip("netns", "exec", machine, "sysctl", "-qw", f"net.ipv6.conf.{DEVICE}.accept_dad=0")
            ip("-n", machine, "link", "set", DEVICE, "up")
        self._until_usable()

    def unplug(self) -> None:
        """Pull it out: the devices are gone."""
        ip("-n", self._machines[0], "link", "del", DEVICE)

    def switch_off(self, machine: str) -> None:
        """Take one end down; the other loses its carrier."""
        ip("-n", machine, "link", "set", DEVICE, "down")

    def switch_on(self, machine: str) -> None:
        """Bring it back."""
        ip("-n", machine, "link", "set", DEVICE, "up")
        self._until_usable()

    def go_silent(self, machine: str) -> None:
        """Have all that `machine` sends to the other get lost, of which no device knows."""
        ip("-n", machine, "-6", "neigh", "replace", self._other(machine), "lladdr", NOBODY,
           "dev", DEVICE, "nud", "permanent")  # fmt: skip

    def speak_again(self, machine: str) -> None:
        """Undo `go_silent`."""
        ip("-n", machine, "-6", "neigh", "del", self._other(machine), "dev", DEVICE)

    def _other(self, machine: str) -> str:
        one, other = self._machines
        return link_local(other if machine == one else one)

    def _until_usable(self) -> None:
        end = time.monotonic() + PATIENCE
        while not all(_usable(machine) for machine in self._machines):
            assert time.monotonic() < end, "no link-local address"
            time.sleep(0.02)


def _usable(machine: str) -> bool:
    return any(not one.get("tentative") for one in _addresses(machine))


def link_local(machine: str) -> str:
    """Return the address of a machine on the cable."""
    address: str = _addresses(machine)[0]["local"]
    return address


def _addresses(machine: str) -> list[dict[str, Any]]:
    shown = subprocess.run(
        ["ip", "-n", machine, "-6", "-json", "addr", "show", "dev", DEVICE],
        capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    every = [one for device in json.loads(shown or "[]") for one in device.get("addr_info", [])]
    return [one for one in every if one.get("scope") == "link"]


def sent(machine: str, device: str = DEVICE) -> int:
    """Return how many bytes have left a machine by a network device."""
    shown = subprocess.run(
        ["ip", "-n", machine, "-s", "-json", "link", "show", "dev", device],
        capture_output=True, check=True, text=True,
    ).stdout  # fmt: skip
    count: int = json.loads(shown)[0]["stats64"]["tx"]["bytes"]
    return count
