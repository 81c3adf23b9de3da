"""A daemon's settings: one TOML file, then the environment, then flags.

A daemon declares a `DaemonSettings` of its own; a field's `Meta` gives the
help text (`description`) and, where the type alone does not say it, what a
value must be (`title`).
"""

import argparse
import difflib
import os
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

ENVIRONMENT_PREFIX = "DAIIC_"

HostPort = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(\[[0-9a-fA-F:.%\w]+\]|[^:\s\[\]]+):[0-9]{1,5}$",
        title="host:port, such as 127.0.0.1:7717",
    ),
]
OptionalHostPort = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^$|^(\[[0-9a-fA-F:.%\w]+\]|[^:\s\[\]]+):[0-9]{1,5}$",
        title='host:port, such as 127.0.0.1:7718, or "" for none',
    ),
]
Seconds = Annotated[float, msgspec.Meta(gt=0, title="a number of seconds above 0")]
LogLevel = Literal["debug", "info", "warning", "error"]
StatusAddress = Annotated[
    OptionalHostPort,
    msgspec.Meta(description='address of /healthz, /readyz and /metrics; "" serves none'),
]


class DaemonSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every daemon can be told; each has its own defaults for where it listens."""

    listen: HostPort
    http_listen: StatusAddress
    cluster_key_file: Annotated[
        str, msgspec.Meta(description="key that all members share; `daiic keygen` makes one")
    ] = ""
    allow_unauthenticated: Annotated[
        bool, msgspec.Meta(description="speak beyond this machine without a cluster key")
    ] = False
    drain_timeout: Annotated[
        Seconds, msgspec.Meta(description="time that what runs has to finish at a stop")
    ] = 30.0
    log_level: LogLevel = "info"


Settings = TypeVar("Settings", bound=DaemonSettings)


class SettingsError(Exception):
    """A setting cannot be used; the message names the key, the value and what would be right."""


@dataclass(slots=True)
class _Given:
    """A value as it was written, and where."""

    value: Any
    source: str
    is_text: bool


def load(
    kind: type[Settings],
    program: str,
    arguments: Sequence[str],
    environment: Mapping[str, str] = os.environ,
) -> Settings:
    """Return the settings of `program`, read from flags, environment and file.

    The file is named by `--config` or `DAIIC_CONFIG`; without one the
    defaults of `kind` hold.

    Raises:
        SettingsError: for an unreadable file, an unknown key or a value that
            does not fit.
        SystemExit: from argparse, for `--help` or an unknown flag.
    """
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    flags = vars(_parser(fields, program, kind.__doc__ or "").parse_args(arguments))
    given: dict[str, _Given] = {}
    config = flags.pop("config", None) or environment.get(ENVIRONMENT_PREFIX + "CONFIG")
    if config:
        for key, value in _read(Path(config)).items():
            if key not in fields:
                raise SettingsError(f"{config}: unknown key {key}{_suggestion(key, fields)}")
            given[key] = _Given(value, config, is_text=False)
    for key in fields:
        variable = ENVIRONMENT_PREFIX + key.upper()
        if variable in environment:
            given[key] = _Given(environment[variable], f"environment {variable}", is_text=True)
    for key, value in flags.items():
        given[key] = _Given(value, f"flag --{key.replace('_', '-')}", is_text=True)
    values = {key: _convert(fields[key].type, key, item) for key, item in given.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise SettingsError(str(error)) from None


def _parser(
    fields: Mapping[str, msgspec.structs.FieldInfo], program: str, about: str
) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description=about,
        argument_default=argparse.SUPPRESS,
        epilog=f"Every setting is also a key of the file and a variable {ENVIRONMENT_PREFIX}<KEY>.",
    )
    parser.add_argument("--config", metavar="FILE", help="the TOML file to read settings from")
    for key, field in fields.items():
        default = field.default if field.default is not msgspec.NODEFAULT else None
        note = f" (default: {_shown(default)})" if default not in (None, "", ()) else ""
        parser.add_argument(
            f"--{key.replace('_', '-')}",
            dest=key,
            metavar="VALUE",
            help=(_meta(field.type, "description") or "").replace("%", "%%") + note,
        )
    return parser


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from None


def _convert(annotation: Any, key: str, given: _Given) -> Any:
    value = given.value
    if given.is_text and typing.get_origin(_bare(annotation)) is tuple:
        value = [item.strip() for item in value.split(",") if item.strip()]
    try:
        return msgspec.convert(value, annotation, strict=not given.is_text)
    except msgspec.ValidationError as error:
        raise SettingsError(
            f"{key} = {_shown(given.value)} ({given.source}) is not valid: "
            f"it must be {_expectation(annotation, error)}"
        ) from None


def _expectation(annotation: Any, error: msgspec.ValidationError) -> str:
    bare = _bare(annotation)
    if typing.get_origin(bare) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(bare)))
    title = _meta(annotation, "title")
    if title:
        return title
    if typing.get_origin(bare) is tuple:
        item = typing.get_args(bare)[0]
        return f"a list, each item {_meta(item, 'title') or 'a text'}"
    said = str(error).split(" - at ")[0].replace("`", "")
    return said.removeprefix("Expected ").split(", got")[0]


def _bare(annotation: Any) -> Any:
    """Return the type without its `Annotated`."""
    while typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation


def _meta(annotation: Any, name: str) -> str | None:
    """Return the outermost `Meta` attribute of that name."""
    while typing.get_origin(annotation) is Annotated:
        annotation, *notes = typing.get_args(annotation)
        for note in reversed(notes):
            if isinstance(note, msgspec.Meta) and getattr(note, name) is not None:
                return str(getattr(note, name))
    return None


def _suggestion(key: str, fields: Mapping[str, object]) -> str:
    close = difflib.get_close_matches(key, fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; the keys are {', '.join(fields)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_shown, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)
