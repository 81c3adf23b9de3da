"""What `daiic doctor` looks at around the cluster: token, key, ports, head, clocks."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from daiic.cli.connection import Target
from daiic.cli.findings import Finding
from daiic.errors import TaskError
from daiic.shown import shown
from daiic.wire.address import is_loopback, resolve
from daiic.wire.keyfile import ClusterKey, KeyFileError
from daiic.wire.limits import Limits
from daiic.wire.udp import InsecureBind

PORTS = {
    7717: (socket.SOCK_DGRAM, "head"),
    7727: (socket.SOCK_DGRAM, "worker"),
    7737: (socket.SOCK_DGRAM, "shim"),
    7700: (socket.SOCK_STREAM, "gateway"),
}
"""The ports that DAIIC's daemons listen on unless told otherwise."""


def check_token() -> Finding:
    """Return whether a Hugging Face token is set; the token itself is never shown."""
    if os.environ.get("HF_TOKEN"):
        return Finding("ok", "Hugging Face token", "HF_TOKEN is set")
    return Finding(
        "note",
        "Hugging Face token",
        "HF_TOKEN is not set: public models work, gated ones do not",
        "for gated models, set HF_TOKEN, hf_token_file or services.daiic.worker.hfTokenFile",
    )


def check_key(key_file: Path | None) -> Finding:
    """Return whether the cluster key can be used."""
    if key_file is None:
        return Finding(
            "note",
            "cluster key",
            "none given: only a head on this machine can be reached",
            "create one with daiic keygen; pass it with --key-file or DAIIC_CLUSTER_KEY_FILE",
        )
    try:
        ClusterKey.load(key_file)
    except KeyFileError as error:
        return Finding("problem", "cluster key", str(error))
    return Finding("ok", "cluster key", f"{key_file} is valid")


def check_ports() -> Iterator[Finding]:
    """Yield for each of DAIIC's ports whether something listens there."""
    for port, (kind, role) in PORTS.items():
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                said = f"in use, by a {role} or another program"
            else:
                said = f"free (no {role} is running here)"
        yield Finding("note", f"port {port}", said)


async def check_head(target: Target) -> AsyncIterator[Finding]:
    """Yield whether the head answers, how far its clock is off, and who works for it."""
    try:
        async with contextlib.AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(target.mesh())
            started = time.time()
            status = await cluster.status()
            round_trip = time.time() - started
    except (TaskError, KeyFileError, InsecureBind, ValueError, OSError) as error:
        advice = "" if isinstance(error, InsecureBind) else await _why_unreachable(target.head)
        yield Finding("problem", "head", str(error), advice)
        return
    yield Finding("ok", "head", f"{target.head} answers in {round_trip * 1000:.1f} ms")
    yield _clock(status.timestamp_us / 1e6 - (started + round_trip / 2), round_trip)
    if status.workers:
        names = ", ".join(shown(worker.heartbeat.name) for worker in status.workers)
        yield Finding("ok", "workers", names)
    else:
        yield Finding(
            "warning",
            "workers",
            "the head knows no workers",
            f'start daiic-worker with heads = ["{target.head}"] and the same cluster key',
        )


async def _why_unreachable(head: str) -> str:
    with contextlib.suppress(ValueError, OSError, asyncio.CancelledError):
        if is_loopback(await resolve(head.partition(",")[0])):
            return "start one here: daiic-head, or services.daiic.head.enable = true"
    return "check the address, the firewall (for UDP), and that both sides have the same key"


def _clock(skew: float, round_trip: float) -> Finding:
    said = f"the head's clock differs by {skew:+.3f} s (± {round_trip / 2:.3f})"
    limit = Limits().max_clock_skew
    if abs(skew) > limit / 2:
        return Finding(
            "problem" if abs(skew) > limit else "warning",
            "clock",
            said,
            f"sealed messages are refused at {limit:.0f} s: run an NTP client on both machines",
        )
    return Finding("ok", "clock", said)
