"""`daiic apikey usage`: what keys used, as the gateway's database has it."""

import datetime
import sqlite3
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from daiic.cli.connection import JsonOption
from daiic.cli.exits import USAGE, err, fail, out, write_json
from daiic.gateway.usage.database import FILE, Question, Used, read
from daiic.service.settings import default_state_dir
from daiic.shown import shown

SYSTEM_DATABASE = Path("/var/lib/daiic-gateway") / FILE
"""Where the gateway of a NixOS host has it."""
MOST_ROWS = 100_000


COLUMNS = {
    "requests": "requests",
    "errors": "errors",
    "prompt": "prompt_tokens",
    "cached": "cached_tokens",
    "answer": "completion_tokens",
    "reasoning": "reasoning_tokens",
    "images": "images",
    "audio s": "audio_seconds",
    "vectors": "embeddings",
}


class By(StrEnum):
    """What a key's use may be split by."""

    MODEL = "model"
    DAY = "day"


def usage(
    key: Annotated[
        str | None,
        typer.Argument(
            help="A key's id or name, also of a revoked one. Without: all.", metavar="KEY"
        ),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=3660, help="How many days, with today (UTC).")
    ] = 30,
    by: Annotated[By | None, typer.Option(help="Tell models or days apart.")] = None,
    database: Annotated[
        Path | None,
        typer.Option(
            "--database",
            envvar="DAIIC_USAGE_DATABASE",
            help=f"{FILE} in the gateway's state_dir; without, {SYSTEM_DATABASE} if there is one, "
            "else the one in your own state directory.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show what keys used; the last few seconds may be missing. Run it as root on a NixOS host."""
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(1)
    first = tomorrow - datetime.timedelta(days)
    split = (by.value,) if by else ()
    question = Question(
        first.isoformat(), tomorrow.isoformat(), ("account", *split), most=MOST_ROWS
    )
    file = database or _found()
    try:
        rows = read(file, question)
    except sqlite3.Error as error:
        raise fail(
            f"{file} cannot be read ({error}): name the {FILE} of the gateway's state_dir with "
            "--database, and run this as root or as the gateway's user",
            USAGE,
        ) from None
    if key is not None:
        rows = [row for row in rows if key in (row.account, row.name)]
    if as_json:
        write_json([_as_json(row) for row in rows])
    elif rows:
        out.print(_table(rows, split))
    else:
        err.print(Text("nothing was used"))


def _found() -> Path:
    own = Path(default_state_dir()).expanduser() / FILE
    try:
        return SYSTEM_DATABASE if SYSTEM_DATABASE.exists() else own
    except OSError:  # it is there, but for others
        return SYSTEM_DATABASE


def _as_json(row: Used) -> dict[str, object]:
    about = {"id": row.account, "name": row.name, "day": row.day, "model": row.model}
    return {k: v for k, v in about.items() if v} | msgspec.structs.asdict(row.amounts)


def _table(rows: list[Used], split: tuple[str, ...]) -> Table:
    """Return a table without the columns that have nothing in them."""
    shown_columns = {
        head: amounts
        for head, name in COLUMNS.items()
        if any(amounts := [round(getattr(row.amounts, name)) for row in rows])
    }
    table = Table("key", "id", *split, box=None)
    for head in shown_columns:
        table.add_column(head, justify="right", no_wrap=True)
    for index, row in enumerate(rows):
        about = [row.name, row.account, *(getattr(row, name) for name in split)]
        numbers = [f"{amounts[index]:,}" for amounts in shown_columns.values()]
        table.add_row(*(Text(shown(text), overflow="fold") for text in about), *numbers)
    return table
