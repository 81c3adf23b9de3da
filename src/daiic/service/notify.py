"""What a daemon tells systemd about itself (sd_notify(3)); silent elsewhere."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping

import sdnotify

from daiic.shown import MESSAGE, shown


class Notifier:
    """Sends sd_notify messages to the socket named by NOTIFY_SOCKET, if there is one."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """The watchdog's period is taken from WATCHDOG_USEC, if it is meant for this process."""
        self._systemd = sdnotify.SystemdNotifier()
        pid = environment.get("WATCHDOG_PID")
        usec = environment.get("WATCHDOG_USEC") if pid in (None, str(os.getpid())) else None
        self.watchdog_period = int(usec) / 1e6 if usec else None
        self._status = ""

    def ready(self) -> None:
        """Say that the daemon serves now."""
        self._systemd.notify("READY=1")

    def status(self, text: str) -> None:
        """Show one line in `systemctl status`; repeated lines are not sent again.

        A line break in it would begin another of sd_notify's variables.
        """
        text = shown(text, MESSAGE)
        if text != self._status:
            self._status = text
            self._systemd.notify(f"STATUS={text}")

    def extend(self, seconds: float) -> None:
        """Ask for `seconds` more, from now, before a start or stop counts as hung."""
        self._systemd.notify(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def reloading(self) -> None:
        """Say that settings are read again; `ready` ends it."""
        self._systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Say that the daemon finishes what it has and ends."""
        self._systemd.notify("STOPPING=1")

    async def feed_watchdog(self, alive: Callable[[], bool] = lambda: True) -> None:
        """Feed the watchdog from this event loop for as long as `alive()`; never returns.

        Returns at once only if no watchdog is set.
        """
        if self.watchdog_period is None:
            return
        while True:
            if alive():
                self._systemd.notify("WATCHDOG=1")
            await asyncio.sleep(self.watchdog_period / 3)
