"""TLS between the machines that hold a model, by stunnel, with a key made from the cluster's.

llama.cpp's RPC believes everything that it is sent, so it listens on loopback only. stunnel
brings to it who has the key, and nobody else: there are no certificates.
"""

import asyncio
import shutil
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from daiic.wire.address import split_host_port
from daiic.wire.keyfile import KEY_SIZE, ClusterKey
from daiic.worker.child import Child

PROGRAMS = ("stunnel", "stunnel4")
INFO = b"daiic shard 1"
IDENTITY = "daiic"
PATIENCE = 10.0
"""Seconds until it must listen."""
LOOK = 0.05
COMMON = f"""foreground = yes
pid =
syslog = no
debug = err
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
socket = l:SO_KEEPALIVE=1
socket = r:SO_KEEPALIVE=1
socket = l:TCP_KEEPIDLE=5
socket = r:TCP_KEEPIDLE=5
socket = l:TCP_KEEPINTVL=3
socket = r:TCP_KEEPINTVL=3
socket = l:TCP_KEEPCNT=3
socket = r:TCP_KEEPCNT=3
TIMEOUTbusy = {PATIENCE:.0f}
TIMEOUTconnect = {PATIENCE:.0f}
TIMEOUTidle = 31536000
sslVersionMin = TLSv1.3
ciphersuites = TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256
"""


class TunnelError(Exception):
    """A tunnel that cannot be opened; the message says why."""


def program() -> str | None:
    """Return stunnel's path, if it is here."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


def secret_of(key: ClusterKey | None) -> bytes:
    """Return what both ends of a tunnel know.

    Without a cluster key anybody may know it; such tunnels stay on loopback.
    """
    secret = key.secret if key is not None else bytes(KEY_SIZE)
    return HKDF(algorithm=SHA256(), length=32, salt=None, info=INFO).derive(secret)


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port of this machine's address `host` that nobody listens on."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.bind((host, 0))
        return int(sock.getsockname()[1])


async def listens(port: int, child: Child, host: str = "127.0.0.1") -> bool:
    """Wait until `child` listens on `port`; return whether it does before it ends or PATIENCE."""
    try:
        async with asyncio.timeout(PATIENCE):
            while child.alive:
                # Not a connection, which a server of one client would take for its client.
                if _bound(host, port):
                    return True
                await asyncio.sleep(LOOK)
    except TimeoutError:
        pass
    return False


def _bound(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind((host, port))
        except OSError:
            return True
    return False


class Tunnel:
    """An stunnel and the private folder with its key."""

    def __init__(self, child: Child, place: Path) -> None:
        self.child = child
        self._place = place

    @classmethod
    async def accept(cls, listen: str, port: int, secret: bytes) -> "Tunnel":
        """Pass what comes to `listen` on to `port` of loopback.

        Raises:
            TunnelError: if that cannot be done.
        """
        host, outside = split_host_port(listen)
        service = f"accept = {host}:{outside}\nconnect = 127.0.0.1:{port}\n"
        return await cls._start({"shard": service}, {outside: host}, secret)

    @classmethod
    async def connect(cls, to: Mapping[int, str], secret: bytes) -> "Tunnel":
        """Pass what comes to ports of loopback on to the addresses `to` has for them.

        Raises:
            TunnelError: if that cannot be done.
        """
        services = {}
        for port, address in to.items():
            host, outside = split_host_port(address)
            services[f"to{port}"] = (
                f"client = yes\naccept = 127.0.0.1:{port}\nconnect = {host}:{outside}\n"
            )
        return await cls._start(services, dict.fromkeys(to, "127.0.0.1"), secret)

    @classmethod
    async def _start(
        cls, services: Mapping[str, str], ports: Mapping[int, str], secret: bytes
    ) -> "Tunnel":
        path = program()
        if path is None:
            raise TunnelError("there is no stunnel on this machine: install it")
        place = Path(tempfile.mkdtemp(prefix="daiic-shard-"))  # only this user can enter it
        try:
            key = place / "key"
            key.touch(mode=0o600)
            key.write_text(f"{IDENTITY}:{secret.hex()}\n")
            text = COMMON + f"PSKsecrets = {key}\n"
            text += "".join(f"[{name}]\n{lines}" for name, lines in services.items())
            (place / "stunnel.conf").write_text(text)
            child = await Child.start("stunnel", [path, str(place / "stunnel.conf")])
        except OSError as error:
            shutil.rmtree(place, ignore_errors=True)
            raise TunnelError(f"stunnel cannot be started: {error}") from None
        tunnel = cls(child, place)
        try:
            for port, host in ports.items():
                if not await listens(port, child, host):
                    raise TunnelError(f"stunnel does not listen: {child.last_words()}")
        except BaseException:
            await tunnel.close()
            raise
        return tunnel

    async def close(self) -> None:
        """End it and remove its key."""
        await self.child.close()
        shutil.rmtree(self._place, ignore_errors=True)
