"""`daiic rerank`: texts in the order in which they answer a query."""

from typing import Annotated

import typer
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


def rerank(
    query: Annotated[str, typer.Argument(help="What the texts should answer.")],
    texts: TextsArgument = None,
    model: ModelOption = None,
    tag: TagOption = None,
    as_json: JsonOption = False,
    head: HeadOption = DEFAULT_HEAD,
    key_file: KeyOption = None,
    allow_unauthenticated: InsecureOption = False,
    url: UrlOption = None,
) -> None:
    """Print texts with how well each answers QUERY, the best one first."""
    target = Target(head, key_file, allow_unauthenticated, url, tag or [])
    run(_rerank(query, given_texts(texts), model, as_json, target))


async def _rerank(
    query: str, documents: list[str], model: str | None, as_json: bool, target: Target
) -> None:
    async with target.connect() as cluster:
        chosen = await choose_model(cluster, model, "rerank", pb.RERANK, target.tags)
        work = pb.RerankTask(query=query, documents=documents)
        result = await cluster.answer(chosen.task(target.tags, rerank=work))
    name = result.model_name or chosen.name
    scores = list(result.scores)
    order = sorted(range(len(scores)), key=lambda number: -scores[number])
    if as_json:
        ranked = [{"index": n, "score": scores[n], "text": documents[n]} for n in order]
        write_json({"model": name, "results": ranked})
        return
    table = Table(title=Text(f"{shown(name)}: {shown(query)}"))
    table.add_column("score", justify="right")
    table.add_column("text")
    for number in order:
        table.add_row(f"{scores[number]:.3f}", Text(f"{number + 1}. {shown(documents[number])}"))
    out.print(table)
