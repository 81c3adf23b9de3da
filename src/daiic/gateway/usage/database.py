"""What the database of what was used has, and how it is asked; `daiic apikey usage` asks it too."""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from daiic.gateway.limits import USAGE_ROWS
from daiic.gateway.usage.amounts import COUNTED, Amounts

FILE = "usage.sqlite"
BUSY_PATIENCE = 5.0
"""Seconds to wait for another process that has the database locked."""

KEY = ("day", "account", "model")


class Used(msgspec.Struct, frozen=True):
    """What an account used of a model on one day ("2026-03-01", UTC), or of several models or days.

    What the row is not about is "".
    """

    day: str
    account: str
    name: str
    model: str
    amounts: Amounts


class Question(msgspec.Struct, frozen=True):
    """Which days, from `first` to before `end`, accounts and models, all of them if there are none.

    `by` are those of `KEY` by which to tell what was used apart.
    """

    first: str
    end: str
    by: tuple[str, ...] = KEY
    accounts: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    most: int = USAGE_ROWS


def read(file: Path, question: Question) -> list[Used]:
    """Return what the database `file` of a gateway, which may be running, answers.

    Raises:
        sqlite3.Error: if it cannot be read, or is none.
    """
    address = f"{file.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(address, uri=True, timeout=BUSY_PATIENCE)) as database:
        return ask(database, question)


def ask(database: sqlite3.Connection, question: Question) -> list[Used]:
    """Return what `database` answers."""
    where, values = ["day >= ?", "day < ?"], [question.first, question.end]
    for column, wanted in (("account", question.accounts), ("model", question.models)):
        if wanted:
            where.append(f"{column} IN ({', '.join('?' for _ in wanted)})")
            values += wanted
    about = [column if column in question.by else "''" for column in KEY]
    name = "max(name)" if "account" in question.by else "''"
    sums = ", ".join(f"sum({column})" for column in COUNTED)
    found = database.execute(
        f"SELECT {about[0]}, {about[1]}, {name}, {about[2]}, {sums} FROM used "
        f"WHERE {' AND '.join(where)} "
        + (f"GROUP BY {', '.join(question.by)} " if question.by else "")
        + "ORDER BY 1, 2, 4 LIMIT ?",
        (*values, question.most),
    )
    return [
        Used(str(day), str(account), str(name), str(model), Amounts(*amounts))
        for day, account, name, model, *amounts in found
        if None not in amounts  # sums over nothing
    ]
