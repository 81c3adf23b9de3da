"""`daiic say`: a text as speech, written to a file."""

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
from daiic.cli.exits import FAILED, USAGE, fail, out, run, write_json
from daiic.cli.sampling import MOST_SEED
from daiic.wire import daiic_pb2 as pb

FORMATS = {".wav": "WAV", ".flac": "FLAC", ".mp3": "MP3", ".ogg": "OGG"}


def say(
    text: Annotated[str, typer.Argument(help="What to say.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The file to write: .wav, .flac, .mp3 or .ogg.")
    ] = Path("speech.wav"),
    voice: Annotated[str, typer.Option(help="One of the model's; by default its first.")] = "",
    speed: Annotated[float, typer.Option(min=0.25, max=4.0)] = 1.0,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MOST_SEED, help="The same seed gives the same sound.")
    ] = None,
    model: ModelOption = None,
    tag: TagOption = None,
    as_json: JsonOption = False,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
    url: UrlOption = None,
) -> None:
    """Say TEXT and write the sound to a file."""
    if output.suffix.lower() not in FORMATS:
        raise fail(f"{output} is of no known kind: end it with {', '.join(FORMATS)}", USAGE)
    work = pb.SpeakTask(input=text, voice=voice, speed=speed, seed=seed)
    target = Target(head, key_file, allow_unauthenticated, url, tag or [])
    run(_say(work, output, model, as_json, target))


async def _say(
    work: pb.SpeakTask, output: Path, model: str | None, as_json: bool, target: Target
) -> None:
    async with target.connect() as cluster:
        chosen = await choose_model(cluster, model, "speak", pb.SPEAK, target.tags)
        result = await cluster.answer(chosen.task(target.tags, speak=work))
    # Imported lazily: other commands need not wait for them.
    import numpy as np
    import soundfile

    samples = np.frombuffer(result.speech.samples, "<i2")
    seconds = len(samples) / (result.speech.rate or 1)
    try:
        kind = FORMATS[output.suffix.lower()]
        soundfile.write(output, samples, result.speech.rate, format=kind)
    except (OSError, soundfile.SoundFileError) as error:
        raise fail(f"{output} cannot be written: {error}", FAILED) from None
    if as_json:
        write_json({"model": chosen.name, "file": str(output), "seconds": seconds})
    else:
        out.print(f"{output}: {seconds:.1f} s", markup=False, highlight=False)
