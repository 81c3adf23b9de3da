"""How `daiic` ends: what went wrong on stderr, and an exit status that scripts can tell apart."""

import asyncio
import json
import sys
from collections.abc import Coroutine
from typing import Any

import typer
import uvloop
from rich.console import Console
from rich.text import Text

from daiic.errors import TaskError
from daiic.shown import MESSAGE, shown_text
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import KeyFileError
from daiic.wire.udp import InsecureBind

FAILED = 1
"""The cluster answered with an error, or a check failed."""
USAGE = 2
"""The command was not given what it needs."""
UNAVAILABLE = 3
"""No head answers, or no worker can serve the model; trying later may help."""
INTERRUPTED = 130

_UNAVAILABLE = {
    pb.HEAD_UNREACHABLE,
    pb.NO_WORKER,
    pb.QUEUE_FULL,
    pb.WORKER_LOST,
    pb.SHUTTING_DOWN,
}

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def fail(message: str, status: int) -> typer.Exit:
    """Print `message` and return the exception that ends the command with `status`."""
    err.print("[bold red]error:[/] ", end="")
    _say(message)
    return typer.Exit(status)


def explain(error: TaskError) -> None:
    """Print what a task's error says, and its remedy on a line of its own."""
    err.print("[bold red]error:[/] ", end="")
    _say(error.message)
    if error.remedy:
        err.print("[dim]try:[/]   ", end="")
        _say(error.remedy)


def write(text: str) -> None:
    """Print what a model says as it comes: made harmless on a terminal, else unchanged."""
    if out.is_terminal:
        out.print(Text(shown_text(text)), end="", soft_wrap=True)
    else:
        sys.stdout.write(text)
        sys.stdout.flush()


def write_dimmed(text: str) -> None:
    """Print what is not part of the answer, on a terminal only, as it comes."""
    if out.is_terminal:
        out.print(Text(shown_text(text), "dim"), end="", soft_wrap=True)


def write_json(value: object, indent: int | None = None) -> None:
    """Print JSON: on a terminal in ASCII, so that nothing in it is obeyed."""
    print(json.dumps(value, indent=indent, ensure_ascii=out.is_terminal))


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a command's work to its end; an error ends the process with its exit status."""
    try:
        uvloop.run(main)
    except TaskError as error:
        explain(error)
        raise typer.Exit(UNAVAILABLE if error.code in _UNAVAILABLE else FAILED) from None
    except (InsecureBind, KeyFileError, ValueError) as error:
        raise fail(str(error), USAGE) from None
    except OSError as error:
        raise fail(str(error), FAILED) from None
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)


def _say(message: str) -> None:
    err.print(Text(shown_text(message, MESSAGE)), soft_wrap=True)
