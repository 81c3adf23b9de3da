"""`daiic chat`: a conversation in the terminal, or one question and its answer."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.text import Text

from daiic.cli.answer_printer import AnswerPrinter
from daiic.cli.connection import (
    DEFAULT_HEAD,
    Chosen,
    Cluster,
    HeadOption,
    InsecureOption,
    JsonOption,
    KeyOption,
    ModelOption,
    TagOption,
    Target,
    UrlOption,
    choose_model,
)
from daiic.cli.exits import USAGE, explain, fail, out, run, write_json
from daiic.cli.generate import text_as_json
from daiic.cli.sampling import (
    MaxTokensOption,
    Sampling,
    SeedOption,
    StopOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
)
from daiic.errors import TaskError
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb

FAREWELL = 0.05
HELP = "/clear forgets the conversation, /exit or Ctrl-D leaves, Ctrl-C stops an answer"


def chat(
    message: Annotated[
        str | None, typer.Argument(help="Ask this one question; without it, start a conversation.")
    ] = None,
    system: Annotated[
        str | None,
        typer.Option(help="System prompt: instructions that come before the conversation."),
    ] = None,
    model: ModelOption = None,
    tag: TagOption = None,
    temperature: TemperatureOption = None,
    top_p: TopPOption = None,
    top_k: TopKOption = None,
    seed: SeedOption = None,
    max_tokens: MaxTokensOption = 0,
    stop: StopOption = None,
    as_json: JsonOption = False,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
    url: UrlOption = None,
) -> None:
    """Talk with a language model."""
    if as_json and message is None:
        raise fail("--json works for a single question: give a MESSAGE", USAGE)
    sampling = Sampling(temperature, top_p, top_k, seed, max_tokens, stop or [])
    run(
        _chat(
            message,
            system,
            model,
            sampling,
            as_json,
            Target(head, key_file, allow_unauthenticated, url, tag or []),
        )
    )


async def _chat(
    message: str | None,
    system: str | None,
    model: str | None,
    sampling: Sampling,
    as_json: bool,
    target: Target,
) -> None:
    async with target.connect() as cluster:
        chosen = await choose_model(cluster, model, "text", pb.CHAT, target.tags)
        conversation = Conversation(cluster, chosen, sampling, system, target.tags)
        if message is None:
            await conversation.hold()
        elif as_json:
            task = conversation.ask(message)
            result = await cluster.answer(task)
            write_json(text_as_json(task, result))
        else:
            await conversation.say(message)


class Conversation:
    """What was said so far, and how to go on."""

    def __init__(
        self,
        cluster: Cluster,
        chosen: Chosen,
        sampling: Sampling,
        system: str | None,
        tags: Sequence[str],
    ) -> None:
        self._cluster = cluster
        self._chosen = chosen
        self._sampling = sampling
        self._tags = tags
        self._opening = [pb.ChatMessage(role="system", content=system)] if system else []
        self._messages = list(self._opening)

    def ask(self, message: str) -> pb.Task:
        """Return the task that has `message` answered after what was said so far."""
        self._messages.append(pb.ChatMessage(role="user", content=message))
        return self._sampling.task(self._chosen, self._tags, messages=self._messages)

    async def say(self, message: str) -> None:
        """Print the answer to `message` while it is made, and remember both."""
        answer = AnswerPrinter()
        async with contextlib.aclosing(self._cluster.run(self.ask(message))) as parts:
            with _ctrl_c_cancels():
                try:
                    async for part in parts:
                        answer.add(part)
                except asyncio.CancelledError:
                    out.print(" [dim](stopped)[/]", end="")
        out.print()
        self._messages.append(pb.ChatMessage(role="assistant", content=answer.text))

    async def hold(self) -> None:
        """Take turns until the user leaves."""
        if sys.stdin.isatty():
            out.print(Text.assemble((shown(self._chosen.name), "bold"), " ", (HELP, "dim")))
        while True:
            # The prompt blocks the event loop: what is unsent, such as a CANCEL, goes first.
            await asyncio.sleep(FAREWELL)
            try:
                line = out.input("[bold cyan]> [/]" if sys.stdin.isatty() else "").strip()
            except EOFError:
                return
            if line in ("/exit", "/quit"):
                return
            if line == "/clear":
                self._messages = list(self._opening)
                continue
            if not line:
                continue
            turns = len(self._messages)
            try:
                await self.say(line)
            except TaskError as error:
                # The conversation goes on where it was; the line can be sent again.
                del self._messages[turns:]
                explain(error)
                if not sys.stdin.isatty():
                    raise typer.Exit(1) from None


@contextlib.contextmanager
def _ctrl_c_cancels() -> Iterator[None]:
    """Let Ctrl-C end the running answer instead of the program."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None

    def cancel() -> None:
        task.cancel()

    loop.add_signal_handler(signal.SIGINT, cancel)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        task.uncancel()
