"""Figures of paths over a cable: `python tests/bench/usb4.py`, as root. Never fails.

Two network namespaces have a cable, which is a pair of veth devices with Thunderbolt's name and
its largest MTU, and an ordinary network with the usual one. Bytes go from one to the other by
libdcf, in C, plain and sealed, over the cable and over the network, and by TCP beside it. Then the
cable is pulled, in the middle of a transfer. A pair of veth devices is memory: this measures what
this machine's processors need, and says nothing of any real cable.
"""

import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))
from support.links.cable import DEVICE, Cable, link_local
from support.links.machines import NETWORK, Switch, machines
from support.processes import built

HERE = Path(__file__).parent
SIZE = 1 << 30
PULLED_AFTER = 0.5
PORT = 9000
PATIENCE = 300.0


@dataclass
class World:
    """Two machines, the cable and the network between them, and the program that transfers."""

    program: Path
    one: str
    other: str
    cable: Cable
    address: str

    @contextlib.contextmanager
    def running(self, machine: str, *words: object) -> "Iterator[subprocess.Popen[str]]":
        """Run the program on a machine."""
        command = ["ip", "netns", "exec", machine, str(self.program), *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def dcf(self, seal: str, ways: str, size: int = SIZE, pull: bool = False) -> dict[str, Any]:
        """Return what a transfer by libdcf took; `receiver_cpu` is the other end's."""
        receives = ("dcf", self.address, PORT, "-", 0, seal, ways)
        sends = ("dcf", f"{NETWORK}.1", 0, f"{self.address}:{PORT}", size, seal, ways)
        with self.running(self.other, *receives) as receiver:
            time.sleep(0.3)
            with self.running(self.one, *sends) as sender:
                if pull:
                    time.sleep(4.0 + PULLED_AFTER)
                    self.cable.unplug()
                figures: dict[str, Any] = json.loads(sender.communicate(timeout=PATIENCE)[0])
            received = json.loads(receiver.communicate(timeout=PATIENCE)[0])
        return figures | {"receiver_cpu": received["cpu"]}

    def tcp(self, by_cable: bool) -> dict[str, Any]:
        """Do the same by TCP."""
        host = f"{link_local(self.other)}%{DEVICE}" if by_cable else self.address
        with self.running(self.other, "tcp", host, PORT, "-", 0) as receiver:
            time.sleep(0.3)
            with self.running(self.one, "tcp", "-", PORT, host, SIZE) as sender:
                figures: dict[str, Any] = json.loads(sender.communicate(timeout=PATIENCE)[0])
            received = json.loads(receiver.communicate(timeout=PATIENCE)[0])
        return figures | {"receiver_cpu": received["cpu"]}


@contextlib.contextmanager
def world() -> Iterator[World]:
    library = Path(built.libdcf("release")).resolve()
    with tempfile.TemporaryDirectory() as folder, machines("one", "other") as (one, other):
        program = Path(folder) / "usb4_transfer"
        include = built.WORKSPACE / "dcf" / "include"
        command = ["cc", "-O2", "-o", program, HERE / "usb4_transfer.c", f"-I{include}", library]
        subprocess.run([*command, f"-Wl,-rpath,{library.parent}"], check=True)
        address = Switch(one).connect(other)
        yield World(program, one, other, Cable((one, other)), address)


def row(table: Table, name: str, figures: dict[str, Any]) -> None:
    gib = figures["bytes"] / (1 << 30)
    trips = (
        (f"{figures['median_us']:,} µs", f"{figures['late_us']:,} µs")
        if "median_us" in figures
        else ("", "")
    )
    table.add_row(
        name,
        f"{8 * figures['bytes'] / figures['seconds'] / 1e9:.2f}",
        f"{figures['cpu'] / gib:.2f} + {figures['receiver_cpu'] / gib:.2f}",
        *trips,
        f"{100 * figures['linked'] / figures['bytes']:.0f} %" if "linked" in figures else "",
    )


def main() -> None:
    console = Console(width=120)
    with world() as made:
        table = Table(
            title=f"{SIZE >> 20} MiB between two network namespaces", title_justify="left"
        )
        columns = ("", "Gbit/s", "CPU s a GiB, both ends", "round trip", "p99", "by cable")
        for column in columns:
            table.add_column(column, justify="right" if column else "left")
        row(table, "TCP, cable", made.tcp(by_cable=True))
        for seal in ("plain", "sealed"):
            row(table, f"libdcf {seal}, cable", made.dcf(seal, "links"))
        row(table, "TCP, network", made.tcp(by_cable=False))
        for seal in ("plain", "sealed"):
            row(table, f"libdcf {seal}, network", made.dcf(seal, "network"))
        console.print(table)
        figures = made.dcf("sealed", "links", 4 * SIZE, pull=True)
        console.print(
            f"cable pulled in the middle of {4 * SIZE >> 20} MiB, "
            f"{figures['linked'] / figures['bytes']:.0%} of which had gone over it: nothing was "
            f"acknowledged for {figures['pause']:.2f} s at most, and all arrived"
        )


if __name__ == "__main__":
    main()
