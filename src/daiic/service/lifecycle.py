"""A daemon's life: settings, logs, event loop, signals, and how it ends."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Collection
from typing import Generic

import structlog
import uvloop

from daiic.service import logs
from daiic.service.notify import Notifier
from daiic.service.settings import DaemonSettings, Settings, SettingsError, load
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
        self.settings = self._at_start = load(kind, program, sys.argv[1:])
        self.notifier = Notifier()
        self.stop = asyncio.Event()
        self._is_ready = False
        self._apply: Callable[[Settings], None] = lambda settings: None
        self._changeable: Collection[str] = ()

    def attach(self) -> None:
        """Turn SIGTERM and SIGINT into `stop`, SIGHUP into a reload, in the running loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload)

    def ready(self) -> None:
        """Tell systemd that the daemon serves now."""
        self._is_ready = True
        self.notifier.ready()

    def on_reload(self, apply: Callable[[Settings], None], changeable: Collection[str]) -> None:
        """Call `apply` with freshly read settings each time SIGHUP arrives.

        It may raise `SettingsError` to refuse them. Changes of keys that are
        not `changeable` are logged as needing a restart. The log level
        follows by itself.
        """
        self._apply = apply
        self._changeable = changeable

    def _reload(self) -> None:
        self.notifier.reloading()
        try:
            settings = load(self._kind, self._program, sys.argv[1:])
            self._apply(settings)
        except SettingsError as error:
            log.error("settings not reloaded", reason=str(error))
        else:
            changed = _differences(self.settings, settings)
            fixed = set(_differences(self._at_start, settings)) - set(self._changeable)
            self.settings = settings
            logs.configure(settings.log_level)
            log.info("settings reloaded", changed=", ".join(changed) or "nothing")
            if fixed:
                log.warning("some changes need a restart", settings=", ".join(sorted(fixed)))
        if self._is_ready:
            self.notifier.ready()


def _differences(one: DaemonSettings, other: DaemonSettings) -> list[str]:
    return [key for key in one.__struct_fields__ if getattr(one, key) != getattr(other, key)]


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
    logs.configure(lifecycle.settings.log_level)

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
        log.error("cannot continue", reason=str(error))
        sys.exit(EXIT_FAILED)
