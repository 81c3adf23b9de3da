"""What was used, in SQLite: one row for each day, account and model.

All methods block; one thread at a time may call them.
"""

import datetime
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

import structlog

from daiic.gateway.limits import USAGE_ROWS
from daiic.gateway.usage.amounts import COUNTED, Amounts
from daiic.gateway.usage.database import BUSY_PATIENCE, FILE, KEY, Question, Used, ask

DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}
"""Primary result codes that no other try will change; the last is of a table that is not ours."""

_COLUMNS = ", ".join((*KEY, "name", *COUNTED))
_KINDS = ", ".join(
    f"{name} {'REAL' if isinstance(default, float) else 'INTEGER'} NOT NULL"
    for name, default in zip(COUNTED, Amounts.__struct_defaults__, strict=True)
)
_CREATE = f"""
CREATE TABLE IF NOT EXISTS used (
    day TEXT NOT NULL, account TEXT NOT NULL, model TEXT NOT NULL, name TEXT NOT NULL, {_KINDS},
    PRIMARY KEY (day, account, model)
) WITHOUT ROWID
"""
_ADD = f"""
INSERT INTO used ({_COLUMNS}) VALUES ({", ".join("?" for _ in (*KEY, "name", *COUNTED))})
ON CONFLICT (day, account, model) DO UPDATE SET name = excluded.name,
{", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTED)}
"""

log = structlog.get_logger()


class UsageStore:
    """The database; while it cannot be had, what is written stays in memory."""

    def __init__(self, folder: str, days: int) -> None:
        """`folder` gets the file, "" is none; `days` are kept."""
        self._file = Path(folder).expanduser() / FILE if folder else None
        self._days = days
        self._database: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the database; a damaged one is put aside, and the log says so."""
        if self._file is None:
            self._database = _open(":memory:")
            return
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._database = _open(str(self._file))
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, sqlite3.Error) and _is_damage(error) and self._put_aside(error):
                self.open()
                return
            log.error(
                "what keys use cannot be kept; it will be gone after a restart. state_dir should "
                "be a folder that the gateway may write to",
                file=str(self._file),
                reason=str(error),
            )
            self._file = None
            self.open()

    def close(self) -> None:
        """Let go of the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def add(self, rows: Iterable[Used]) -> None:
        """Add `rows` to what is kept, all or none, and forget what is too old or too much.

        Raises:
            sqlite3.Error: if they cannot be written; they may be, later.
        """
        values = [(*_key(row), *_values(row.amounts)) for row in rows]
        today = datetime.datetime.now(datetime.UTC).date()
        oldest = today - datetime.timedelta(self._days - 1)
        with self._usable() as database:
            database.executemany(_ADD, values)
            database.execute("DELETE FROM used WHERE day < ?", (oldest.isoformat(),))
            while database.execute("SELECT count(*) FROM used").fetchone()[0] > USAGE_ROWS:
                database.execute("DELETE FROM used WHERE day = (SELECT min(day) FROM used)")

    def used(self, question: Question) -> list[Used]:
        """Return what was used, by day, then account, then model.

        Raises:
            sqlite3.Error: if it cannot be read.
        """
        return ask(self._usable(), question)

    def _usable(self) -> sqlite3.Connection:
        if self._database is None:
            self.open()
        assert self._database is not None
        return self._database

    def recover(self, error: sqlite3.Error) -> None:
        """Begin with an empty database if `error` says that this one is damaged."""
        if _is_damage(error):
            self.close()
            if self._file is None or self._put_aside(error):
                self.open()

    def _put_aside(self, error: sqlite3.Error) -> bool:
        assert self._file is not None
        aside = self._file.with_suffix(".damaged")
        log.error(
            "the file has not what keys used; it is put aside",
            file=str(self._file),
            aside=str(aside),
            reason=str(error),
        )
        try:
            self._file.replace(aside)
            for more in ("-wal", "-shm"):
                self._file.with_name(FILE + more).unlink(missing_ok=True)
        except OSError as refused:
            log.error("it cannot be put aside", reason=refused.strerror)
            return False
        return True


def _open(address: str) -> sqlite3.Connection:
    # The thread that calls is another one each time, but never two at once.
    database = sqlite3.connect(address, timeout=BUSY_PATIENCE, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        with database:
            database.execute(_CREATE)
        database.execute(f"SELECT {_COLUMNS} FROM used LIMIT 1").fetchone()
    except BaseException:
        database.close()
        raise
    return database


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED


def _key(row: Used) -> Sequence[str]:
    return row.day, row.account, row.model, row.name


def _values(amounts: Amounts) -> Sequence[float]:
    return [getattr(amounts, name) for name in COUNTED]
