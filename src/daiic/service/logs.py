"""Structured logs on stderr, for people at a terminal and for the journal.

Under systemd each line starts with its priority (sd-daemon(3)) and carries
no time of its own, since the journal adds both; elsewhere it is coloured if
stderr is a terminal. An entry is one line, tracebacks aside, whatever names or
messages of other machines are in it.
"""

import logging
import os
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from daiic.shown import MESSAGE, shown, shown_text

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def configure(level: str) -> None:
    """Send what `structlog` and `logging` say from `level` up to stderr."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=_rendering())
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


def _rendering() -> list[structlog.typing.Processor]:
    strip = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if "JOURNAL_STREAM" in os.environ:
        return [strip, structlog.processors.format_exc_info, _made_safe, _for_journal]
    stamp = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)
    console = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    return [strip, structlog.processors.format_exc_info, _made_safe, stamp, console]


def _made_safe(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if key == "exception":
            event[key] = shown_text(str(value))
        elif not (value is None or isinstance(value, (bool, int, float))):
            event[key] = shown(str(value), MESSAGE)
    return event


_logfmt = structlog.processors.LogfmtRenderer(key_order=["event"])


def _for_journal(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    priority = PRIORITIES.get(str(event.pop("level", "info")), 6)
    exception = event.pop("exception", "")
    text = f"{_logfmt(logger, method, event)}\n{exception}".rstrip("\n")
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))
