"""How many messages a second the shim forwards on one core, and how much latency it adds.

Side by side, in one run: socat, nginx's stream proxy, a bare recvmmsg/sendmmsg reflector as the
ceiling, and the shim. What is measured has core 0 for itself; clients and the far end share core 1.
The clients keep a window open for the rate, then send at half that rate for the latency, which is
compared with the same far end at the same rate without anything between. Latencies are those of the
least disturbed of several runs, because a machine with two cores is rarely left alone; with
--realtime (needs root) whatever else runs there has to wait.

    python tests/bench/shim.py [--seconds S] [--clients N] [--window W] [--runs N] [--realtime]

`messages` are round trips a second; `packets` the datagrams in and out that they cost whatever is
measured. `a core-second` is packets per second of CPU time that the process itself took: on a
machine with few or busy cores the other ends may be what limits the rate, and this says what the
core would do. A round trip takes two packets at the reflector and four at a proxy. At the shim it
takes four on the clients' side (TASK, RESULT, and an acknowledgement of each) and on the mesh's
side from a few hundredths (small messages, joined) to three.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

HERE = Path(__file__).parent
WORKSPACE = HERE.parents[1] / "src"
TICKS = os.sysconf("SC_CLK_TCK")
NGINX = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; master_process off; worker_processes 1; pid {folder}/pid; error_log /dev/null crit;
events {{ worker_connections 8192; }}
stream {{
    server {{ listen 127.0.0.1:{port} udp rcvbuf=8m sndbuf=8m; proxy_pass 127.0.0.1:{far}; }}
}}
"""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(pinned: Sequence[str], *command: str) -> Iterator[int]:
    """Run as `pinned` says, in a group of its own; yield the group."""
    process = subprocess.Popen(
        [*pinned, *command],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(0.7)
    if process.poll() is not None:
        raise RuntimeError(f"{command[0]} did not stay: {process.returncode}")
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, 9)
        process.wait()


def cpu_seconds(group: int) -> float:
    """CPU time of every process in a group, and of their children that have ended."""
    total = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                total += sum(map(int, fields[11:15]))
    return total / TICKS


def packets_of(http: int) -> float:
    """How many datagrams the shim has had in and out."""
    with urllib.request.urlopen(f"http://127.0.0.1:{http}/metrics") as page:
        lines = page.read().decode().splitlines()
    counted = re.compile(r"daiic_shim_datagrams_(received|sent)_total\{")
    return sum(float(line.rpartition(" ")[2]) for line in lines if counted.match(line))


class Bench:
    """What is the same for all contenders."""

    def __init__(self, options: argparse.Namespace, load: str) -> None:
        self.options = options
        self.load = load
        priority = ["chrt", "-f", "1"] if options.realtime else []
        self.core = [[*priority, "taskset", "-c", str(core)] for core in (0, 1)]

    def measure(
        self, port: int, kind: str, size: int, rate: float, seconds: float
    ) -> dict[str, float]:
        options = self.options
        words = [port, kind, size, options.clients, options.window, seconds, int(rate)]
        done = subprocess.run(
            [*self.core[1], self.load, "load", *map(str, words)],
            capture_output=True,
            text=True,
            check=True,
        )
        return dict(json.loads(done.stdout))

    def latency(self, port: int, kind: str, size: int, rate: float) -> dict[str, float]:
        """Return the measurement with the least p99 of several."""
        runs = [self.measure(port, kind, size, rate, 1.0) for _ in range(self.options.runs)]
        return min(runs, key=lambda run: run["p99"])

    def contender(self, name: str, kind: str, size: int, between: Callable[..., list[str]]) -> None:
        """Measure and print one line; `between` gives the command, for its port and the far one."""
        far, port = free_port(), free_port()
        seconds = self.options.seconds + 0.5  # the load runs half a second before it counts
        with running(self.core[1], self.load, "reflect" if kind == "echo" else "head", str(far)):
            with running(self.core[0], *between(port, far)) as group:
                before = cpu_seconds(group)
                full = self.measure(port, kind, size, 0, self.options.seconds)
                share = (cpu_seconds(group) - before) / seconds
                packets = full["rate"] * (2 if name == "reflector" else 4)
                if name == "shim":
                    packets = packets_of(port) / seconds
                half = self.latency(port, kind, size, full["rate"] / 2)
            direct = self.latency(far, kind, size, full["rate"] / 2)
        added = [half[p] - direct[p] for p in ("p50", "p99")] if name != "reflector" else [0, 0]
        print(
            f"{name:10} {size:5} B {full['rate']:9.0f} {packets:9.0f} {share:6.0%}"
            f" {packets / share:13.0f} {half['p50']:8.0f} {half['p99']:8.0f} {added[0]:9.0f}"
            f" {added[1]:9.0f}",
            flush=True,
        )


def contenders(folder: Path, load: str, shim: str) -> Iterator[tuple[str, str, Callable]]:
    def nginx(port: int, far: int) -> list[str]:
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port, far=far))
        return ["nginx", "-c", str(folder / "nginx.conf")]

    def shim_command(port: int, far: int) -> list[str]:
        unlimited = [
            part
            for key in ("client-rate", "client-burst", "client-datagram-rate")
            for part in (f"--{key}", "1e9")
        ]
        bounds = [
            "--client-tasks",
            "1000000",
            "--max-tasks",
            "1000000",
            "--http-listen",
            f"127.0.0.1:{port}",
        ]
        addresses = ["--listen", f"127.0.0.1:{port}", "--heads", f"127.0.0.1:{far}"]
        return [shim, *addresses, *unlimited, *bounds]

    if shutil.which("socat"):
        yield (
            "socat",
            "echo",
            lambda port, far: [
                "socat",
                f"UDP4-LISTEN:{port},bind=127.0.0.1,fork,reuseaddr",
                f"UDP4:127.0.0.1:{far}",
            ],
        )
    if shutil.which("nginx"):
        yield "nginx", "echo", nginx
    yield "reflector", "echo", lambda port, far: [load, "reflect", str(port)]
    yield "shim", "dcf", shim_command


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--realtime", action="store_true")
    options = parser.parse_args()
    subprocess.run([WORKSPACE / "cargo.sh", "build", "--release", "--quiet"], check=True)
    print(f"cores {os.cpu_count()}, load average before {os.getloadavg()[0]:.2f}")
    print(
        f"{'':10} {'size':>7} {'messages':>9} {'packets':>9} {'core':>6} {'a core-second':>13}"
        f" {'p50 us':>8} {'p99 us':>8} {'added p50':>9} {'added p99':>9}"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        load = str(folder / "shim_load")
        subprocess.run(["cc", "-O2", "-o", load, HERE / "shim_load.c"], check=True)
        bench = Bench(options, load)
        # To a task of 1190 bytes or more the shim adds what makes it two CHUNKs towards the head.
        for size in (64, 1180):
            for contender, kind, between in contenders(
                folder, load, str(WORKSPACE / "target/release/dcf-shim")
            ):
                bench.contender(contender, kind, size, between)
    print(f"load average after {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
