"""A daemon's life: settings, logs, event loop, signals, and how it ends."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Generic

import msgspec
import structlog
import uvloop

from daiic.service import logs
from daiic.service.notify import Notifier
from daiic.service.settings import Settings, SettingsError, load
from daiic.wire.keyfile import KeyFileError
from daiic.wire.udp import InsecureBind

EXIT_FAILED = 1
EXIT_BAD_SETTINGS = 2

log = structlog.get_logger()


class Lifecycle(Generic[Settings]):
    """What a running daemon is told from outside, and how it speaks to systemd."""

    def __init__(self, program: str, kind: type[Settings]) -> None:
        self._program = program
        self._kind = kind
        self.settings = load(kind, program, sys.argv[1:])
        self.notifier = Notifier()
        self.stop = asyncio.Event()
        self._on_reload: Callable[[Settings], None] | None = None

    def on_reload(self, apply: Callable[[Settings], None]) -> None:
        """Call `apply` with the settings read anew, each time SIGHUP arrives."""
        self._on_reload = apply

    def attach(self) -> None:
        """Turn SIGTERM and SIGINT into `stop`, SIGHUP into a reload, in the running loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def _reload(self) -> None:
        self.notifier.reloading()
        try:
            settings = load(self._kind, self._program, sys.argv[1:])
        except SettingsError as error:
            log.error("settings not reloaded", reason=str(error))
        else:
            fixed = [
                field.name
                for field in msgspec.structs.fields(settings)
                if getattr(settings, field.name) != getattr(self.settings, field.name)
            ]
            log.info("settings reloaded", changed=", ".join(fixed) or "nothing")
            self.settings = settings
            if self._on_reload is not None:
                self._on_reload(settings)
        self.notifier.ready()


def run(
    program: str,
    kind: type[Settings],
    serve: Callable[[Lifecycle[Settings]], Awaitable[None]],
) -> None:
    """Run a daemon until `serve` returns, and end the process.

    `serve` should return soon after `Lifecycle.stop` is set. Exit status: 0
    after that, 1 if the daemon failed, 2 if its settings cannot be used.
    """
    try:
        lifecycle = Lifecycle(program, kind)
    except SettingsError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(EXIT_BAD_SETTINGS)
    logs.configure(getattr(lifecycle.settings, "log_level", "info"))

    async def main() -> None:
        lifecycle.attach()
        await serve(lifecycle)
        lifecycle.notifier.stopping()

    try:
        uvloop.run(main())
    except (SettingsError, KeyFileError, InsecureBind, ValueError) as error:
        log.error("cannot start", reason=str(error))
        sys.exit(EXIT_BAD_SETTINGS)
    except OSError as error:
        log.error("cannot go on", reason=str(error))
        sys.exit(EXIT_FAILED)
