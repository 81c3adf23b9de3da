"""`daiic transcribe`: what is said in a recording, as text or subtitles."""

import contextlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
from daiic.cli.sampling import MOST_SEED
from daiic.gateway.limits import RECORDING_BYTES
from daiic.gateway.openai.audio.subtitles import srt, vtt
from daiic.shown import shown_text
from daiic.whole_answer import joined
from daiic.wire import daiic_pb2 as pb


class TextFormat(StrEnum):
    """How a transcript is printed."""

    TEXT = "text"
    SRT = "srt"
    VTT = "vtt"


def transcribe(
    file: Annotated[Path, typer.Argument(help="WAV, FLAC, MP3, Ogg Vorbis or Opus.")],
    language: Annotated[
        str, typer.Option(help='What is spoken, such as "en"; by default it is found out.')
    ] = "",
    translate: Annotated[bool, typer.Option(help="Into English.")] = False,
    prompt: Annotated[str, typer.Option(help="What was said before, or how names are spelt.")] = "",
    text_format: Annotated[
        TextFormat, typer.Option("--format", help="Text, or subtitles.")
    ] = TextFormat.TEXT,
    seed: Annotated[int | None, typer.Option(min=0, max=MOST_SEED)] = None,
    model: ModelOption = None,
    tag: TagOption = None,
    as_json: JsonOption = False,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
    url: UrlOption = None,
) -> None:
    """Write down what is said in FILE."""
    try:
        with file.open("rb") as recording:
            data = recording.read(RECORDING_BYTES + 1)
    except OSError as error:
        raise fail(f"{file} cannot be read: {error.strerror}", USAGE) from None
    if len(data) > RECORDING_BYTES:
        raise fail(f"{file} has more than {RECORDING_BYTES >> 20} MiB: cut it into parts", USAGE)
    work = pb.TranscribeTask(
        audio=pb.Media(data=data), language=language, translate=translate, prompt=prompt, seed=seed
    )
    target = Target(head, key_file, allow_unauthenticated, url, tag or [])
    run(_transcribe(work, text_format, model, as_json, target))


async def _transcribe(
    work: pb.TranscribeTask,
    text_format: TextFormat,
    model: str | None,
    as_json: bool,
    target: Target,
) -> None:
    heard: list[pb.Result] = []
    as_it_comes = text_format is TextFormat.TEXT and not as_json
    async with target.connect() as cluster:
        chosen = await choose_model(cluster, model, "transcribe", pb.HEAR, target.tags)
        task = chosen.task(target.tags, transcribe=work)
        task.stream = True
        async with contextlib.aclosing(cluster.run(task)) as parts:
            async for part in parts:
                heard.append(part)
                if as_it_comes and part.text:
                    text = shown_text(part.text)
                    out.print(text, end="", markup=False, highlight=False, soft_wrap=True)
    whole = joined(heard)
    if as_json:
        segments = [{"start": s.start, "end": s.end, "text": s.text} for s in whole.segments]
        said = {"text": whole.text, "language": whole.language, "seconds": whole.seconds}
        write_json({"model": chosen.name, **said, "segments": segments})
    elif as_it_comes:
        out.print()
    else:
        write = srt if text_format is TextFormat.SRT else vtt
        text = shown_text(write(whole.segments))
        out.print(text, end="", markup=False, highlight=False, soft_wrap=True)
