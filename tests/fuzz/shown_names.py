"""Puts hostile text into everything that a cluster says of itself, and looks at what `daiic` shows.

By hand: `python tests/fuzz/driver.py shown_names --coverage 900` (see there). An input is cut into
the texts and numbers of a status, an answer and an error; it reaches a terminal through every
command that shows them, and a log in both of its forms.
"""

import asyncio
import contextlib
import io
import logging
import os
import unicodedata
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import structlog

from daiic.cli import chat, cluster_checks, exits, generate, models, status
from daiic.cli.connection import Chosen
from daiic.cli.progress import run_with_progress
from daiic.cli.sampling import Sampling
from daiic.errors import TaskError
from daiic.service import logs
from daiic.service.notify import Notifier
from daiic.wire import daiic_pb2 as pb

SAMPLES = [
    b"plain\x1e\x01\x02\x03\x04",
    b"\x1b[2J\x1b]0;title\x07\x1e[/nope]\x1e[bold]x\x1e:smile:\x1e\r\nREADY=1\x1e\xff\xff\xff\xff\xff",
    "übung\u202e\u2066\u200b\u061c\U000e0041\x1e\x9b31m\x1ea\u2028b\x1e☃\u0301".encode(),
]
WORDS = [
    *(b"\x1e", b"\x1b", b"\x1b[31m", b"\x07", b"\x08", b"\r", b"\n", b"\t", b"\0", b"\x7f", b"["),
    *(b"[/]", b"[bold]", b"[link=http://a]", b"\\[", b":heart:", b"%", b"{", b"}", b"=", b'"'),
    *("\x9b", "\x9d", "\x85", "\u2028", "\u202a", "\u202e", "\u2069", "\u200f", "\u200d", "\ufeff"),
    *("\U000e0020", "\u0301", "字", "\U0001f600", "\ufff9", "\xad", "long " * 40),
    *(b"\xff\xff\xff\xff\xff\xff\xff\xff", b"\x7f\xf0\0\0\0\0\0\0", b"\x80\0\0\0"),
]
WORDS = [word.encode() if isinstance(word, str) else word for word in WORDS]

_OBEYED = {"Cc", "Cs", "Zl", "Zp"}
_DIRECTING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def obeyed(text: str, also: str = "\n") -> list[str]:
    """Return the characters of `text` that a terminal obeys instead of showing them."""
    return [
        character
        for character in text
        if character not in also
        and (
            unicodedata.category(character) in _OBEYED
            or unicodedata.bidirectional(character) in _DIRECTING
        )
    ]


class _Pieces:
    """Cuts an input into texts and numbers, over and over."""

    def __init__(self, data: bytes) -> None:
        self._pieces = data.split(b"\x1e")
        self._next = 0

    def _piece(self) -> bytes:
        piece = self._pieces[self._next % len(self._pieces)]
        self._next += 1
        return piece

    def text(self) -> str:
        return self._piece().decode("utf-8", "replace")

    def number(self, bits: int) -> int:
        return int.from_bytes(self._piece()[:8], "big") % 2**bits

    def value(self, kind: int) -> int | float:
        return float(self.number(64)) * 10.0 ** (kind % 300) if kind else float("nan")


def filled(message: object, pieces: _Pieces, depth: int = 0) -> None:
    """Set every field of a message to what the next piece says."""
    for field in message.DESCRIPTOR.fields:  # type: ignore[attr-defined]
        if field.type == field.TYPE_STRING:
            values = [pieces.text()]
        elif field.type == field.TYPE_BYTES:
            continue
        elif field.type == field.TYPE_BOOL:
            values = [bool(pieces.number(1))]
        elif field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
            values = [pieces.value(pieces.number(8))]
        elif field.type == field.TYPE_ENUM or field.type == field.TYPE_INT32:
            values = [pieces.number(32) - 2**31 if pieces.number(1) else pieces.number(3)]
        elif field.type == field.TYPE_MESSAGE:
            if depth > 3 or field.message_type.GetOptions().map_entry:
                continue
            part = getattr(message, field.name)
            filled(part.add() if field.is_repeated else part, pieces, depth + 1)
            continue
        else:
            values = [pieces.number(64 if "64" in str(field.cpp_type) else 31)]
        if field.is_repeated:
            getattr(message, field.name).extend(values)
        else:
            setattr(message, field.name, values[0])


class _Cluster:
    """Answers with what the input says; it is a command's target as well."""

    head = "127.0.0.1:7717"
    tags: Sequence[str] = ()

    def __init__(self, pieces: _Pieces) -> None:
        self._status = pb.ClusterStatus()
        filled(self._status, pieces)
        self._parts = [pb.Result(text=pieces.text()), pb.Result(text=pieces.text(), final=True)]
        self._parts[0].progress.phase = pieces.text()
        self._parts[1].started_over = True
        self._parts[1].model.weights = pieces.text()
        self.error = TaskError(pieces.number(31), pieces.text(), pieces.text())

    @contextlib.asynccontextmanager
    async def mesh(self) -> AsyncIterator["_Cluster"]:
        yield self

    connect = mesh

    async def status(self, asked: pb.StatusTask | None = None) -> pb.ClusterStatus:
        return self._status

    async def models(self, tags: Sequence[str] = ()) -> list[pb.ModelStatus]:
        return [model for worker in self._status.workers for model in worker.heartbeat.models]

    async def run(self, task: pb.Task) -> AsyncIterator[pb.Result]:
        for part in self._parts:
            yield part


async def _everything(cluster: _Cluster, name: str) -> None:
    await status._status(False, False, pb.StatusTask(tasks=True), cluster)
    await status._status(False, False, pb.StatusTask(explain=1), cluster)
    await models._list(False, cluster)
    await models._pull(name, "", cluster)
    findings = [finding async for finding in cluster_checks.check_head(cluster)]
    assert not any(obeyed(finding.says) for finding in findings)
    conversation = chat.Conversation(cluster, Chosen(name, name), Sampling(), None, ())
    await conversation.say("hello")
    await generate._generate("x", name, Sampling(), False, cluster)
    await run_with_progress(cluster, pb.Task(model=name))
    exits.explain(cluster.error)
    exits.fail(str(cluster.error), 1)


@contextlib.contextmanager
def terminal() -> Iterator[io.StringIO]:
    """Let all that is printed go into a text, as onto a terminal 100 columns wide."""
    screen = io.StringIO()
    kept = {name: os.environ.get(name) for name in ("FORCE_COLOR", "COLUMNS", "TERM")}
    os.environ |= {"FORCE_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"}
    try:
        with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
            yield screen
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _logged(text: str) -> str:
    written = io.StringIO()
    for journal in (True, False):
        with contextlib.redirect_stderr(written):
            os.environ.pop("JOURNAL_STREAM", None)
            if journal:
                os.environ["JOURNAL_STREAM"] = "8:1"
            logs.configure("info")
            before = written.getvalue().count("\n")
            structlog.get_logger().warning("worker lost", worker=text, models=[text])
            logging.getLogger("library").warning("it said %s", text)
            assert written.getvalue().count("\n") == before + 2, "an entry that is not one line"
    os.environ.pop("JOURNAL_STREAM", None)
    return written.getvalue()


def target() -> Callable[[bytes], None]:
    """Return what shows one input everywhere."""
    loop = asyncio.new_event_loop()

    def show(data: bytes) -> None:
        pieces = _Pieces(data)
        cluster, name = _Cluster(pieces), pieces.text() or "m"
        with terminal() as screen:
            loop.run_until_complete(_everything(cluster, name))
        assert not obeyed(screen.getvalue()), obeyed(screen.getvalue())
        assert not obeyed(_logged(name))
        told: list[str] = []
        notifier = Notifier({})
        notifier._systemd.notify = told.append
        notifier.status(name)
        assert not any(obeyed(line, "") for line in told)

    return show
