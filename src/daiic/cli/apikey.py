"""`daiic apikey`: the keys that clients of a gateway send."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from daiic.cli.connection import JsonOption
from daiic.cli.exits import USAGE, err, fail, out, write_json
from daiic.gateway.http.api_keys import ApiKeysError, KeyFile
from daiic.shown import shown

app = typer.Typer(help="Create, list and revoke API keys for the gateway.", no_args_is_help=True)

FileOption = Annotated[
    Path,
    typer.Option(
        "--file",
        envvar="DAIIC_API_KEYS_FILE",
        help="The gateway's api_keys_file.",
        show_default=True,
    ),
]
DEFAULT_FILE = Path("/etc/daiic/api-keys.json")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who the key is for; shown in logs and lists.")],
    file: FileOption = DEFAULT_FILE,
    may_bench: Annotated[
        bool, typer.Option("--may-bench", help="Let it start benches, which keep workers busy.")
    ] = False,
) -> None:
    """Create a key for NAME and print it once; it cannot be shown again."""
    try:
        key = KeyFile(file).create(name, may_bench=may_bench)
    except ApiKeysError as error:
        raise fail(str(error), USAGE) from None
    said = f"added to {file}; a running gateway accepts it at once. Save it, this is the only time:"
    err.print(Text(said))
    print(key)


@app.command("list")
def list_keys(file: FileOption = DEFAULT_FILE, as_json: JsonOption = False) -> None:
    """List the keys' names and ids; the keys themselves are not stored and cannot be shown."""
    try:
        keys = list(KeyFile(file).load().values())
    except ApiKeysError as error:
        raise fail(str(error), USAGE) from None
    if as_json:
        write_json(
            [
                {"id": k.id, "name": k.name, "created": k.created, "may_bench": k.may_bench}
                for k in keys
            ]
        )
        return
    table = Table("name", "id", "created", "may", box=None)
    for key in keys:
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.created))
        table.add_row(
            Text(shown(key.name)), Text(shown(key.id)), created, "bench" if key.may_bench else ""
        )
    out.print(table)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The key's id, or its name if that is unique.")],
    file: FileOption = DEFAULT_FILE,
) -> None:
    """Revoke a key; a running gateway refuses it at once."""
    try:
        revoked = KeyFile(file).revoke(key)
    except ApiKeysError as error:
        raise fail(str(error), USAGE) from None
    err.print(Text(f"revoked {shown(revoked.name)} ({shown(revoked.id)})"))
