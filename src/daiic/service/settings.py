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
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from daiic.bounded_file import read_bounded

ENVIRONMENT_PREFIX = "DAIIC_"
MAX_FILE = 256 << 10
"""Bytes of a settings file."""
MAX_SHOWN = 200
"""Characters that a message has at most of what was written."""

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
Seconds = Annotated[
    float, msgspec.Meta(gt=0, le=1e9, title="a number of seconds above 0, at most 1e9")
]
LogLevel = Literal["debug", "info", "warning", "error"]
StatusAddress = Annotated[
    OptionalHostPort,
    msgspec.Meta(description='HTTP address of /healthz, /readyz and /metrics; "" for none'),
]


def default_state_dir() -> str:
    """Return where a daemon keeps its state: in the folder that systemd made for it, or at home."""
    return os.environ.get("STATE_DIRECTORY", "").split(":")[0] or "~/.local/state/daiic"


class DaemonSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What every daemon can be told; each has its own defaults for where it listens."""

    listen: HostPort
    http_listen: StatusAddress
    cluster_key_file: Annotated[
        str,
        msgspec.Meta(description="file with the key that all members share; see `daiic keygen`"),
    ] = ""
    allow_unauthenticated: Annotated[
        bool, msgspec.Meta(description="talk to other machines without a cluster key")
    ] = False
    drain_timeout: Annotated[
        Seconds, msgspec.Meta(description="seconds to finish running work when told to stop")
    ] = 30.0
    log_level: Annotated[LogLevel, msgspec.Meta(description="debug, info, warning or error")] = (
        "info"
    )


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
                raise SettingsError(
                    f"{config}: unknown key {_printable(key)}{_suggestion(key, fields)}"
                )
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
    parser.add_argument("--config", metavar="FILE", help="TOML file with settings")
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
        return tomllib.loads(read_bounded(path, MAX_FILE).decode("utf-8"))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}") from None
    except RecursionError:
        raise SettingsError(f"{path} is not TOML for settings: it is nested too deeply") from None
    except ValueError as error:
        raise SettingsError(f"{path} is not TOML: {_printable(str(error))}") from None


def _convert(annotation: Any, key: str, given: _Given) -> Any:
    value = given.value
    if given.is_text and typing.get_origin(_bare(annotation)) is tuple:
        value = [item.strip() for item in value.split(",") if item.strip()]
    try:
        converted = msgspec.convert(value, annotation, strict=not given.is_text)
        expected = "" if _is_writable(converted) else "text without control characters, in UTF-8"
    except msgspec.ValidationError as error:
        expected = _expectation(annotation, error)
    except (RecursionError, OverflowError):
        expected = _meta(annotation, "title") or "a plain value"
    if not expected:
        return converted
    raise SettingsError(
        f"{key} = {_shown(given.value)} ({given.source}) is not valid: it must be {expected}"
    )


def _is_writable(value: Any) -> bool:
    """Return whether all text in `value` can be a file's name, and be sent to others."""
    if isinstance(value, tuple):
        return all(map(_is_writable, value))
    return not isinstance(value, str) or not any(
        unicodedata.category(character) in ("Cc", "Cs") for character in value
    )


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
    close = difflib.get_close_matches(key[:MAX_SHOWN], fields, n=1)
    return f"; did you mean {close[0]}?" if close else f"; the keys are {', '.join(fields)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (list, tuple)) and not any(isinstance(v, (list, dict)) for v in value):
        return _printable("[" + ", ".join(map(_shown, value[:MAX_SHOWN])) + "]")
    if isinstance(value, (list, dict)):
        return "[…]" if isinstance(value, list) else "{…}"
    return f'"{_printable(value)}"' if isinstance(value, str) else _printable(str(value))


def _printable(text: str) -> str:
    """Return `text`, which may be anything, as a line of a terminal can show it."""
    text = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return text if text.isprintable() else ascii(text)[1:-1]
