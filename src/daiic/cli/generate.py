"""`daiic generate`: continue a prompt as it is, without a chat template."""

import contextlib
import sys
from typing import Annotated

import typer

from daiic.cli.answer_printer import AnswerPrinter
from daiic.cli.connection import (
    DEFAULT_HEAD,
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
from daiic.cli.exits import USAGE, fail, out, run, write_json
from daiic.cli.sampling import (
    MaxTokensOption,
    Sampling,
    SeedOption,
    StopOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
)
from daiic.shown import word
from daiic.wire import daiic_pb2 as pb


def generate(
    prompt: Annotated[
        str | None, typer.Argument(help="The text to continue; without it, read from stdin.")
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
    """Continue PROMPT and print the text as it is generated."""
    if prompt is None and sys.stdin.isatty():
        raise fail("give a prompt as an argument or on stdin", USAGE)
    text = prompt if prompt is not None else sys.stdin.read()
    sampling = Sampling(temperature, top_p, top_k, seed, max_tokens, stop or [])
    run(
        _generate(
            text,
            model,
            sampling,
            as_json,
            Target(head, key_file, allow_unauthenticated, url, tag or []),
        )
    )


async def _generate(
    prompt: str,
    model: str | None,
    sampling: Sampling,
    as_json: bool,
    target: Target,
) -> None:
    async with target.connect() as cluster:
        chosen = await choose_model(cluster, model, "text", pb.COMPLETE, target.tags)
        task = sampling.task(chosen, target.tags, prompt=prompt)
        if as_json:
            result = await cluster.answer(task)
            write_json(text_as_json(task, result))
            return
        answer = AnswerPrinter()
        async with contextlib.aclosing(cluster.run(task)) as parts:
            async for part in parts:
                answer.add(part)
        out.print()


def text_as_json(task: pb.Task, result: pb.Result) -> dict[str, object]:
    """Return what `--json` prints of a whole text answer."""
    return {
        "model": result.model_name or task.model,
        "text": result.text,
        "finish_reason": word(pb.FinishReason, result.finish_reason).rpartition("_")[2],
        "seed": task.text.seed if task.text.HasField("seed") else None,
        "prompt_tokens": result.usage.prompt_tokens,
        "completion_tokens": result.usage.completion_tokens,
        "worker": result.worker_id,
    }
