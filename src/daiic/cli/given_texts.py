"""The texts that a command is about: its arguments, or the lines of stdin."""

import sys
from typing import Annotated

import typer

from daiic.cli.exits import USAGE, fail

TextsArgument = Annotated[
    list[str] | None, typer.Argument(help="The texts; without any, one per line from stdin.")
]


def given_texts(arguments: list[str] | None) -> list[str]:
    """Return the `arguments`, or if there are none the lines of stdin that are not blank.

    Raises:
        typer.Exit: if there are none, and nobody has sent anything to stdin.
    """
    if not arguments and sys.stdin.isatty():
        raise fail("give texts as arguments, or one per line on stdin", USAGE)
    return arguments or [line for line in sys.stdin.read().splitlines() if line.strip()]
