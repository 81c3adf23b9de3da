"""`daiic image`: makes pictures from a prompt, or from another picture."""

import re
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from daiic.bounded_file import read_bounded
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
from daiic.cli.progress import run_with_progress
from daiic.cli.sampling import MOST, MOST_SEED
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb

MOST_BYTES = 32 << 20
"""Of a picture to begin with; a gateway takes no more either."""


class FileFormat(Enum):
    """How pictures are written."""

    PNG = "png"
    WEBP = "webp"
    JPEG = "jpeg"


def image(
    prompt: Annotated[
        str, typer.Argument(help="What the picture should show; with --edit, may be left out.")
    ] = "",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file to write; else named after the prompt."),
    ] = None,
    edit: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="A PNG, JPEG or WebP picture to begin with."
        ),
    ] = None,
    mask: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Where --edit may be changed: transparent there, or white.",
        ),
    ] = None,
    strength: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="How far from --edit it may get; 0: not at all."),
    ] = None,
    file_format: Annotated[
        FileFormat | None,
        typer.Option("--format", help="By default what --output ends with, else png."),
    ] = None,
    quality: Annotated[
        int, typer.Option(min=0, max=100, help="Of WebP and JPEG; 0 for the worker's default.")
    ] = 0,
    size: Annotated[str | None, typer.Option(help="WIDTHxHEIGHT in pixels.")] = None,
    steps: Annotated[
        int, typer.Option(min=0, max=MOST, help="Denoising steps; 0 for the model's default.")
    ] = 0,
    guidance: Annotated[
        float | None, typer.Option(min=0.0, help="How closely to follow the prompt.")
    ] = None,
    negative: Annotated[str, typer.Option(help="What the picture should not show.")] = "",
    seed: Annotated[
        int | None, typer.Option(min=0, max=MOST_SEED, help="The same seed gives the same picture.")
    ] = None,
    count: Annotated[int, typer.Option("-n", min=1, max=MOST, help="Number of pictures.")] = 1,
    model: ModelOption = None,
    tag: TagOption = None,
    as_json: JsonOption = False,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
    url: UrlOption = None,
) -> None:
    """Make a picture from PROMPT, or from another one."""
    width, height = _parse_size(size)
    if edit is None and not prompt.strip():
        raise fail("a picture needs a PROMPT, or another picture: --edit FILE", USAGE)
    if edit is None and (mask is not None or strength is not None):
        raise fail("--mask and --strength are for a picture to begin with: add --edit FILE", USAGE)
    chosen = file_format or _format_of(output)
    if quality and chosen is FileFormat.PNG:
        raise fail("--quality is for WebP and JPEG: add --format webp", USAGE)
    work = {
        "image": _read(edit),
        "mask": _read(mask),
        "strength": strength,
        "type": "" if chosen is FileFormat.PNG else f"image/{chosen.value}",
        "quality": quality,
        "prompt": prompt,
        "negative_prompt": negative,
        "width": width,
        "height": height,
        "steps": steps,
        "guidance": guidance,
        "seed": seed,
        "n": count,
    }
    run(
        _image(
            work,
            output,
            chosen,
            model,
            as_json,
            Target(head, key_file, allow_unauthenticated, url, tag or []),
        )
    )


async def _image(
    work: dict[str, Any],
    output: Path | None,
    file_format: FileFormat,
    model: str | None,
    as_json: bool,
    target: Target,
) -> None:
    async with target.connect() as cluster:
        need = pb.PAINT if work["image"] is None else pb.EDIT
        chosen = await choose_model(cluster, model, "image", need, target.tags)
        task = chosen.task(target.tags, image=pb.ImageTask(**work))
        result = await run_with_progress(cluster, task)
    written = []
    for made in result.images:
        named = Path(f"{_slug(task.image.prompt)}-{made.seed}.{file_format.value}")
        path = _free_path(output or named)
        path.write_bytes(made.media.data or made.png)
        written.append({"path": str(path), "seed": made.seed})
    if as_json:
        write_json({"model": chosen.name, "worker": result.worker_id, "images": written})
    else:
        for picture in written:
            seed = (f"(seed {picture['seed']})", "dim")
            out.print(Text.assemble(f"{picture['path']} ", seed), soft_wrap=True)


def _read(file: Path | None) -> pb.Media | None:
    if file is None:
        return None
    try:
        return pb.Media(data=read_bounded(file, MOST_BYTES))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise fail(f"{shown(str(file))} cannot be sent: {reason}", USAGE) from None


def _format_of(output: Path | None) -> FileFormat:
    """Return the format that the name of `output` tells."""
    suffix = output.suffix.lower().removeprefix(".") if output is not None else ""
    known = {each.value: each for each in FileFormat} | {"jpg": FileFormat.JPEG}
    return known.get(suffix, FileFormat.PNG)


def _parse_size(size: str | None) -> tuple[int, int]:
    if size is None:
        return 0, 0
    match = re.fullmatch(r"([0-9]{1,5})x([0-9]{1,5})", size)
    if match is None:
        raise fail(f'--size "{shown(size)}" is not a size: write WIDTHxHEIGHT, e.g. 512x512', USAGE)
    return int(match[1]), int(match[2])


def _slug(prompt: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:40] or "image"


def _free_path(path: Path) -> Path:
    """Return `path`, or the first "name-2.png", "name-3.png", … that no file has."""
    candidate, number = path, 2
    while candidate.exists():
        candidate = path.with_stem(f"{path.stem}-{number}")
        number += 1
    return candidate
