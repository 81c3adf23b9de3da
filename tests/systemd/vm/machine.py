"""One virtual machine, spoken to in the vocabulary of NixOS's test driver.

QEMU boots the project's image; what makes this machine itself (units, files,
address) reaches systemd as credentials in SMBIOS strings, so the image is the
same for all. Commands go to a root shell on a virtio port.
"""

import base64
import json
import shlex
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from daiic.tether import tethered
from systemd.vm.image import Image

DEFAULT_TIMEOUT = 900.0


class TestFailure(Exception):
    """What the test script asked for did not come true."""


@dataclass(frozen=True, slots=True)
class Network:
    """The machines of one test by name, in the order of their addresses, and their wire."""

    machines: tuple[str, ...]
    port: int

    def address(self, machine: str) -> str:
        """Return the machine's IPv4 address; NixOS's driver numbers them alike."""
        return f"192.168.1.{sorted(self.machines).index(machine) + 1}"

    def hosts(self) -> str:
        """Return /etc/hosts of every machine."""
        lines = ["127.0.0.1 localhost", "::1 localhost"]
        lines += [f"{self.address(machine)} {machine}" for machine in self.machines]
        return "\n".join(lines) + "\n"


@dataclass(slots=True)
class Machine:
    """A machine of a test: `units` and `files` (absolute path to text) are there when it boots."""

    name: str
    image: Image
    network: Network
    folder: Path
    accelerator: str
    units: Mapping[str, str]
    files: Mapping[str, str]
    memory_mib: int = 1024
    cores: int = 1
    _qemu: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _shell: socket.socket | None = field(default=None, init=False)
    _monitor: TextIO | None = field(default=None, init=False)

    # --- Power and network

    def start(self) -> None:
        """Boot the machine unless it runs; its disk keeps what earlier boots wrote."""
        if self._qemu is not None:
            return
        self.log("starts")
        overlay = self.folder / "disk.qcow2"
        if not overlay.exists():
            subprocess.run(
                [
                    *("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw"),
                    *("-b", str(self.image.disk), str(overlay)),
                ],
                check=True,
            )
        (self.folder / "smbios").mkdir(exist_ok=True)
        console = (self.folder / "console.log").open("ab")
        self._qemu = subprocess.Popen(
            tethered(*self._command(overlay)),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
        )
        self._shell = self._connect("shell")
        self._monitor = self._connect("monitor").makefile("rw")
        self._monitor_command("qmp_capabilities", greeting=True)

    def _command(self, overlay: Path) -> list[str]:
        number = self.network.address(self.name).rpartition(".")[2]
        wants = " ".join(
            f"systemd.wants={unit}" for unit, text in self.units.items() if "WantedBy=" in text
        )
        kernel_arguments = (
            "root=/dev/nvme0n1 rw console=ttyS0 quiet systemd.show_status=no net.ifnames=0 "
            # An emulated timer on a busy host may look broken; a panic ends QEMU and so the test.
            "no_timer_check panic=-1 "
            f"systemd.condition_needs_update=no systemd.hostname={self.name} {wants} "
            f"ip={self.network.address(self.name)}:::255.255.255.0:{self.name}:eth0:none"
        )
        return [
            "qemu-system-x86_64", "-accel", self.accelerator, "-cpu", "max", "-machine", "q35",
            "-m", str(self.memory_mib), "-smp", str(self.cores), "-nographic", "-no-reboot",
            "-kernel", str(self.image.kernel), "-append", kernel_arguments,
            "-drive", f"if=none,id=disk,file={overlay},format=qcow2,cache=unsafe",
            "-device", "nvme,drive=disk,serial=disk",
            "-device", "virtio-serial",
            "-chardev", f"socket,id=shell,path={self.folder}/shell,server=on,wait=off",
            "-device", "virtserialport,chardev=shell,name=shell",
            "-chardev", f"socket,id=monitor,path={self.folder}/monitor,server=on,wait=off",
            "-mon", "chardev=monitor,mode=control",
            "-device", "virtio-rng-pci",
            "-netdev", f"socket,id=wire,mcast=230.77.17.1:{self.network.port},localaddr=127.0.0.1",
            "-device", f"virtio-net-pci,id=nic,netdev=wire,mac=52:54:00:12:01:{int(number):02x}",
            *(argument for file in self._credentials() for argument in ("-smbios", file)),
        ]  # fmt: skip

    def _credentials(self) -> list[str]:
        """Write this machine's credentials to files; return them as -smbios arguments."""
        files = {"/etc/hosts": self.network.hosts(), **self.files}
        credentials = {
            "tmpfiles.extra": "".join(
                f"f+~ {path} 0644 root root - {base64.b64encode(text.encode()).decode()}\n"
                for path, text in files.items()
            ),
            **{f"systemd.extra-unit.{unit}": text for unit, text in self.units.items()},
        }
        arguments = []
        for name, text in credentials.items():
            path = self.folder / "smbios" / name
            encoded = base64.b64encode(text.encode()).decode()
            path.write_text(f"io.systemd.credential.binary:{name}={encoded}")
            arguments.append(f"type=11,path={path}")
        return arguments

    def _connect(self, name: str) -> socket.socket:
        deadline = time.monotonic() + 30
        while True:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(str(self.folder / name))
                return connection
            except OSError:
                connection.close()
                if (
                    time.monotonic() > deadline
                    or self._qemu is None
                    or self._qemu.poll() is not None
                ):
                    said = (self.folder / "console.log").read_text(errors="replace")[-2000:]
                    raise TestFailure(f"{self.name}: QEMU does not start:\n{said}") from None
                time.sleep(0.1)

    def shutdown(self) -> None:
        """Power the machine off as its administrator would, and wait until it is off."""
        if self._qemu is None:
            return
        self.log("shuts down")
        self._send("systemctl poweroff\n")
        self._wait_off(timeout=300)

    def crash(self) -> None:
        """Cut the machine's power."""
        if self._qemu is None:
            return
        self.log("loses power")
        self._qemu.kill()
        self._wait_off(timeout=30)

    def _wait_off(self, timeout: float) -> None:
        assert self._qemu is not None
        try:
            self._qemu.wait(timeout)
        except subprocess.TimeoutExpired:
            self._qemu.kill()
            self._qemu.wait()
            raise TestFailure(f"{self.name} did not power off within {timeout:g} s") from None
        finally:
            for connection in (self._shell, self._monitor):
                if connection is not None:
                    connection.close()
            self._qemu = self._shell = self._monitor = None

    def block(self) -> None:
        """Pull the machine's network cable."""
        self.log("network off")
        self._monitor_command("set_link", {"name": "nic", "up": False})

    def unblock(self) -> None:
        """Plug the machine's network cable in again."""
        self.log("network on")
        self._monitor_command("set_link", {"name": "nic", "up": True})

    def _monitor_command(
        self, command: str, arguments: Mapping[str, object] | None = None, greeting: bool = False
    ) -> None:
        assert self._monitor is not None
        if greeting:
            self._monitor.readline()
        self._monitor.write(json.dumps({"execute": command, "arguments": arguments or {}}) + "\n")
        self._monitor.flush()
        while True:
            answer = json.loads(self._monitor.readline())
            if "error" in answer:
                raise TestFailure(f"{self.name}: QEMU refuses {command}: {answer['error']}")
            if "return" in answer:
                return

    # --- Commands

    def execute(
        self,
        command: str,
        check_return: bool = True,
        timeout: float | None = DEFAULT_TIMEOUT,
    ) -> tuple[int, str]:
        """Run a shell command as root; return its exit status and standard output.

        The status is 124 if it ran past `timeout` seconds. What the command
        starts in the background must not hold on to its output.
        """
        self.start()
        encoded = base64.b64encode(f"set -euo pipefail; {command}".encode()).decode()
        limit = f"timeout {timeout:g} " if timeout is not None else ""
        run = f'{limit}bash -c "$(echo {encoded} | base64 -d)" </dev/null'
        self._send(f'{run} | base64 -w 0; echo ":${{PIPESTATUS[0]}}"\n')
        output, _, status = self._receive_line(timeout).rpartition(":")
        text = base64.b64decode(output).decode(errors="replace")
        return (int(status) if check_return else -1), text

    def _send(self, text: str) -> None:
        assert self._shell is not None
        self._shell.sendall(text.encode())

    def _receive_line(self, timeout: float | None) -> str:
        assert self._shell is not None
        # The machine may still be booting: the shell answers once it is there.
        self._shell.settimeout((timeout or DEFAULT_TIMEOUT) + 300)
        line = bytearray()
        while not line.endswith(b"\n"):
            try:
                received = self._shell.recv(65536)
            except TimeoutError:
                received = b""
            if not received:
                said = (self.folder / "console.log").read_text(errors="replace")[-3000:]
                raise TestFailure(f"{self.name}: no answer from its shell. Its console:\n{said}")
            line += received
        return line.decode().strip()

    def succeed(self, *commands: str, timeout: float | None = None) -> str:
        """Run commands that have to succeed; return what they print."""
        outputs = []
        for command in commands:
            self.log(f"must succeed: {command}")
            status, output = self.execute(command, timeout=timeout or DEFAULT_TIMEOUT)
            if status != 0:
                raise TestFailure(f"{self.name}: exit status {status} of: {command}\n{output}")
            outputs.append(output)
        return "".join(outputs)

    def fail(self, *commands: str, timeout: float | None = None) -> str:
        """Run commands that have to fail; return what they print."""
        outputs = []
        for command in commands:
            self.log(f"must fail: {command}")
            status, output = self.execute(command, timeout=timeout or DEFAULT_TIMEOUT)
            if status == 0:
                raise TestFailure(f"{self.name}: unexpected success of: {command}\n{output}")
            outputs.append(output)
        return "".join(outputs)

    def wait_until_succeeds(self, command: str, timeout: float = DEFAULT_TIMEOUT) -> str:
        """Repeat a command until it succeeds; return what it then prints."""
        output = ""

        def succeeds() -> bool:
            nonlocal output
            status, output = self.execute(command)
            return status == 0

        self.log(f"until succeeds: {command}")
        self._until(succeeds, timeout, lambda: f"{command}\n{output}")
        return output

    def wait_until_fails(self, command: str, timeout: float = DEFAULT_TIMEOUT) -> str:
        """Repeat a command until it fails; return what it then prints."""
        output = ""

        def fails() -> bool:
            nonlocal output
            status, output = self.execute(command)
            return status != 0

        self.log(f"until fails: {command}")
        self._until(fails, timeout, lambda: f"{command}\n{output}")
        return output

    def _until(self, holds: Callable[[], bool], timeout: float, what: Callable[[], str]) -> None:
        deadline = time.monotonic() + timeout
        while not holds():
            if time.monotonic() > deadline:
                raise TestFailure(f"{self.name}: not within {timeout:g} s: {what()}")
            time.sleep(1)

    # --- What systemd says

    def systemctl(self, arguments: str, user: str | None = None) -> tuple[int, str]:
        """Run systemctl; return its exit status and output."""
        if user is not None:
            raise TestFailure("this driver's machines have no user managers")
        return self.execute(f"systemctl {arguments}")

    def get_unit_property(self, unit: str, name: str, user: str | None = None) -> str:
        """Return one property of a unit as `systemctl show` prints it."""
        status, output = self.systemctl(f"show --value --property={name} {shlex.quote(unit)}", user)
        if status != 0:
            raise TestFailure(f"{self.name}: no property {name} of {unit}")
        return output.strip()

    def wait_for_unit(
        self, unit: str, user: str | None = None, timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        """Wait until the unit is active; fail at once if it failed or nothing will start it."""

        def is_active() -> bool:
            state = self.get_unit_property(unit, "ActiveState", user)
            if state == "failed":
                _, journal = self.execute(f"journalctl --no-pager -n 40 -u {shlex.quote(unit)}")
                raise TestFailure(f"{self.name}: {unit} failed:\n{journal}")
            if state == "inactive" and "No jobs" in self.systemctl("list-jobs --full", user)[1]:
                again = self.get_unit_property(unit, "ActiveState", user)
                if again == "inactive":
                    raise TestFailure(f"{self.name}: {unit} is inactive, and no job starts it")
            return state == "active"

        self.log(f"until active: {unit}")
        self._until(
            is_active,
            timeout,
            lambda: f"{unit} active\n" + self.execute(f"journalctl --no-pager -n 40 -u {unit}")[1],
        )

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Fail unless the unit is in that state now."""
        state = self.get_unit_property(unit, "ActiveState")
        if state != require_state:
            raise TestFailure(f"{self.name}: {unit} is {state}, not {require_state}")

    def wait_for_open_port(
        self, port: int, addr: str = "localhost", timeout: float = DEFAULT_TIMEOUT
    ) -> None:
        """Wait until something listens on a TCP port."""
        self.wait_until_succeeds(f": < /dev/tcp/{addr}/{port}", timeout)

    def wait_for_file(self, filename: str, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Wait until the file is there."""
        self.wait_until_succeeds(f"test -e {shlex.quote(filename)}", timeout)

    # --- The rest

    def copy_from_host(self, source: str, target: str) -> None:
        """Copy a small file from this machine."""
        encoded = base64.b64encode(Path(source).read_bytes()).decode()
        self.succeed(
            f"mkdir -p $(dirname {shlex.quote(target)}); "
            f"echo {encoded} | base64 -d > {shlex.quote(target)}"
        )

    def sleep(self, seconds: float) -> None:
        """Let that much time pass in the machine."""
        self.succeed(f"sleep {seconds:g}")

    def log(self, text: str) -> None:
        """Write a line to the test's protocol."""
        print(f"{time.strftime('%H:%M:%S')} {self.name}: {text}", flush=True)
