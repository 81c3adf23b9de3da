"""`daiic apikey`: the keys that clients of a gateway send."""

import contextlib
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from daiic.cli.apikey_usage import usage
from daiic.cli.connection import JsonOption
from daiic.cli.exits import USAGE, err, fail, out, write_json
from daiic.gateway.http.api_keys import ApiKey, ApiKeysError, KeyFile
from daiic.gateway.http.key_limits import AMOUNTS, KeyLimits
from daiic.shown import shown

app = typer.Typer(
    help="Create, change, list and revoke API keys for the gateway.", no_args_is_help=True
)

app.command()(usage)

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

NO_LIMIT = "0 for no limit; unset: the gateway's setting."
RequestsPerMinute = Annotated[
    int | None, typer.Option(min=0, metavar="N", help=f"Requests a minute, {NO_LIMIT}")
]
RequestsPerDay = Annotated[
    int | None, typer.Option(min=0, metavar="N", help=f"Requests a day (UTC), {NO_LIMIT}")
]
TokensPerMinute = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help=f"Tokens of prompts and answers a minute, {NO_LIMIT}"),
]
TokensPerDay = Annotated[
    int | None,
    typer.Option(min=0, metavar="N", help=f"Tokens of prompts and answers a day, {NO_LIMIT}"),
]
ConcurrentRequests = Annotated[
    int | None, typer.Option(min=0, metavar="N", help=f"Requests at once, {NO_LIMIT}")
]
ModelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--model",
        metavar="NAME",
        help="A model that it may use, or a pattern such as 'Qwen/*'; may be repeated. Unset: all.",
    ),
]


class Priority(StrEnum):
    """As `KeyLimits.priority`, for the command line."""

    LOW = "low"
    NORMAL = "normal"
    HIGH = "high"


PriorityOption = Annotated[
    Priority | None,
    typer.Option(help="Its share of busy workers: each step is four times as large as the last."),
]
KeyArgument = Annotated[
    str, typer.Argument(help="The key's id, or its name if that is unique.", metavar="KEY")
]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Who the key is for; shown in logs and lists.")],
    file: FileOption = DEFAULT_FILE,
    requests_per_minute: RequestsPerMinute = None,
    requests_per_day: RequestsPerDay = None,
    tokens_per_minute: TokensPerMinute = None,
    tokens_per_day: TokensPerDay = None,
    concurrent_requests: ConcurrentRequests = None,
    model: ModelOption = None,
    priority: PriorityOption = None,
    may_bench: Annotated[
        bool, typer.Option("--may-bench", help="Let it start benches, which keep workers busy.")
    ] = False,
    is_admin: Annotated[
        bool, typer.Option("--admin", help="Let it see what all keys have used, and manage models.")
    ] = False,
) -> None:
    """Create a key for NAME and print it once; it cannot be shown again."""
    limits = KeyLimits(
        requests_per_minute,
        requests_per_day,
        tokens_per_minute,
        tokens_per_day,
        concurrent_requests,
        tuple(model or ()),
        priority.value if priority else "normal",
    )
    with _keys_of(file) as keys:
        key = keys.create(name, may_bench=may_bench, is_admin=is_admin, limits=limits)
    said = f"added to {file}; a running gateway accepts it at once. Save it, this is the only time:"
    err.print(Text(said))
    print(key)


@app.command("set")
def change(
    key: KeyArgument,
    file: FileOption = DEFAULT_FILE,
    requests_per_minute: RequestsPerMinute = None,
    requests_per_day: RequestsPerDay = None,
    tokens_per_minute: TokensPerMinute = None,
    tokens_per_day: TokensPerDay = None,
    concurrent_requests: ConcurrentRequests = None,
    model: ModelOption = None,
    priority: PriorityOption = None,
    may_bench: Annotated[
        bool | None, typer.Option("--may-bench/--no-bench", help="Whether it may start benches.")
    ] = None,
    is_admin: Annotated[
        bool | None,
        typer.Option(
            "--admin/--no-admin",
            help="Whether it may see what all keys have used, and manage models.",
        ),
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LIMIT",
            help="Take back a limit, such as tokens-per-day or models, so that the gateway's "
            "setting holds; may be repeated.",
        ),
    ] = None,
) -> None:
    """Change what KEY may do; a running gateway follows at once. What is not named stays."""
    changes: dict[str, Any] = {
        "requests_per_minute": requests_per_minute,
        "requests_per_day": requests_per_day,
        "tokens_per_minute": tokens_per_minute,
        "tokens_per_day": tokens_per_day,
        "concurrent_requests": concurrent_requests,
        "models": tuple(model) if model else None,
        "priority": priority.value if priority else None,
        "may_bench": may_bench,
        "is_admin": is_admin,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    for option in unset or ():
        name = option.replace("-", "_")
        if name not in KeyLimits.__struct_fields__:
            known = ", ".join(KeyLimits.__struct_fields__).replace("_", "-")
            raise fail(f"there is no limit {shown(option)}: the limits are {known}", USAGE)
        changes[name] = getattr(KeyLimits(), name)
    if not changes:
        raise fail("nothing is to change: `daiic apikey set --help` lists what can", USAGE)
    with _keys_of(file) as keys:
        changed = keys.change(key, changes)
    said = ", ".join(_rights(changed)) or "no limits of its own"
    err.print(Text(f"{shown(changed.name)} ({shown(changed.id)}): {said}"))


@app.command("list")
def list_keys(file: FileOption = DEFAULT_FILE, as_json: JsonOption = False) -> None:
    """List the keys' names and ids; the keys themselves are not stored and cannot be shown."""
    with _keys_of(file) as keys:
        listed = list(keys.load().values())
    if as_json:
        write_json([_as_json(key) for key in listed])
        return
    table = Table("name", "id", "created", "limits and rights", box=None)
    for key in listed:
        created = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.created))
        said = ", ".join(_rights(key))
        table.add_row(Text(shown(key.name)), Text(shown(key.id)), created, Text(said))
    out.print(table)


@app.command()
def revoke(key: KeyArgument, file: FileOption = DEFAULT_FILE) -> None:
    """Revoke a key; a running gateway refuses it at once."""
    with _keys_of(file) as keys:
        revoked = keys.revoke(key)
    err.print(Text(f"revoked {shown(revoked.name)} ({shown(revoked.id)})"))


@contextlib.contextmanager
def _keys_of(file: Path) -> Iterator[KeyFile]:
    """Give the keys in `file`; what is wrong with them or with a change ends the command."""
    try:
        yield KeyFile(file)
    except ApiKeysError as error:
        raise fail(str(error), USAGE) from None


def _as_json(key: ApiKey) -> dict[str, object]:
    return {
        "id": key.id,
        "name": key.name,
        "created": key.created,
        "may_bench": key.may_bench,
        "is_admin": key.is_admin,
        **msgspec.structs.asdict(key.limits),
    }


def _rights(key: ApiKey) -> Iterator[str]:
    """Yield in words what differs from a key that was made without options."""
    for name in AMOUNTS:
        amount = getattr(key.limits, name)
        if amount is not None:
            yield f"{name.replace('_', ' ')}: {f'{amount:,}' if amount else 'no limit'}"
    if key.limits.models:
        yield f"models: {' '.join(map(shown, key.limits.models))}"
    if key.limits.priority != "normal":
        yield f"{key.limits.priority} priority"
    if key.may_bench:
        yield "may bench"
    if key.is_admin:
        yield "admin"
