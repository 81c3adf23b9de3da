"""`daiic image`: makes a picture from a prompt and writes it as PNG."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

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


def image(
    prompt: Annotated[str, typer.Argument(help="What the picture should show.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="The PNG file to write; by default named after the prompt."
        ),
    ] = None,
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
    """Make a picture from PROMPT."""
    width, height = _parse_size(size)
    work = {
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
            model,
            as_json,
            Target(head, key_file, allow_unauthenticated, url, tag or []),
        )
    )


async def _image(
    work: dict[str, Any],
    output: Path | None,
    model: str | None,
    as_json: bool,
    target: Target,
) -> None:
    async with target.connect() as cluster:
        chosen = await choose_model(cluster, model, "image", pb.PAINT, target.tags)
        task = chosen.task(target.tags, image=pb.ImageTask(**work))
        result = await run_with_progress(cluster, task)
    written = []
    for made in result.images:
        path = _free_path(output or Path(f"{_slug(task.image.prompt)}-{made.seed}.png"))
        path.write_bytes(made.png)
        written.append({"path": str(path), "seed": made.seed})
    if as_json:
        write_json({"model": chosen.name, "worker": result.worker_id, "images": written})
    else:
        for picture in written:
            seed = (f"(seed {picture['seed']})", "dim")
            out.print(Text.assemble(f"{picture['path']} ", seed), soft_wrap=True)


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
