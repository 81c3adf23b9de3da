"""`daiic embed`: texts as vectors, and how near they are to each other."""

import math
from collections.abc import Sequence

from rich.table import Table
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
from daiic.cli.exits import out, run, write_json
from daiic.cli.given_texts import TextsArgument, given_texts
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb


def embed(
    texts: TextsArgument = None,
    model: ModelOption = None,
    tag: TagOption = None,
    as_json: JsonOption = False,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
    url: UrlOption = None,
) -> None:
    """Embed texts and print how similar they are, or with --json the vectors."""
    target = Target(head, key_file, allow_unauthenticated, url, tag or [])
    run(_embed(given_texts(texts), model, as_json, target))


async def _embed(
    inputs: list[str],
    model: str | None,
    as_json: bool,
    target: Target,
) -> None:
    async with target.connect() as cluster:
        chosen = await choose_model(cluster, model, "embed", pb.EMBED, target.tags)
        task = chosen.task(target.tags, embed=pb.EmbedTask(inputs=inputs))
        result = await cluster.answer(task)
    name = result.model_name or chosen.name
    vectors = [list(embedding.values) for embedding in result.embeddings]
    if as_json:
        write_json({"model": name, "embeddings": vectors})
        return
    title = f"{shown(name)}: {len(vectors[0])} dimensions, cosine similarity"
    table = Table(title=Text(title))
    table.add_column("text")
    for number in range(1, len(inputs) + 1):
        table.add_column(str(number), justify="right")
    for number, (text, vector) in enumerate(zip(inputs, vectors, strict=True), 1):
        row = [f"{cosine_similarity(vector, other):.3f}" for other in vectors]
        table.add_row(Text(f"{number}. {shown(text)}"), *row)
    out.print(table)


def cosine_similarity(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of the angle between two vectors, 0 if one has no length."""
    lengths = math.hypot(*one) * math.hypot(*other)
    dot = sum(a * b for a, b in zip(one, other, strict=True))
    return dot / lengths if lengths else 0.0
