"""Puts the subcommands of `daiic` together."""

from typing import Annotated

import typer

from daiic.cli import (
    apikey,
    bench,
    chat,
    demo,
    doctor,
    embed,
    generate,
    image,
    keygen,
    models,
    rerank,
    say,
    status,
    transcribe,
)
from daiic.version import VERSION

app = typer.Typer(
    name="daiic",
    help="DAIIC, a distributed AI inference cluster: the machines you have, as one AI endpoint.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"daiic {VERSION}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    pass


for command in (
    demo.demo,
    chat.chat,
    generate.generate,
    image.image,
    embed.embed,
    rerank.rerank,
    transcribe.transcribe,
    say.say,
    status.status,
    bench.bench,
    keygen.keygen,
    doctor.doctor,
):
    app.command()(command)
app.add_typer(models.app, name="models")
app.add_typer(apikey.app, name="apikey")


def main() -> None:
    """Run the command line."""
    app()
