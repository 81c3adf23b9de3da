"""Makes settings, key, token and id files of any content; each is used, or named in one clear line.

By hand: `python tests/fuzz/driver.py settings_files --coverage 900` (see there). An input is a
row of choices.
"""

import json
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import structlog

from daiic.gateway.http.api_keys import ApiKeysError, KeyFile
from daiic.gateway.settings import GatewaySettings
from daiic.head.settings import HeadSettings
from daiic.service.settings import SettingsError, load
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey, KeyFileError
from daiic.worker.identity import identify
from daiic.worker.settings import WorkerSettings, read_hf_token
from fuzz.choices import BYTES, SAMPLES, Choices

REFUSALS = (SettingsError, KeyFileError, ApiKeysError)
KINDS = (HeadSettings, WorkerSettings, GatewaySettings)
FIELDS = sorted({name for kind in KINDS for name in kind.__struct_fields__})
TOML = [
    *("1", "0", "-1", "1e400", "nan", "inf", "true", '""', "[]", "{}", "1979-05-27", "'x'"),
    *('"127.0.0.1:1"', '"[::1]:99999"', '["a:1", "b:2"]', '["a:1", 5]', '"4bit"', '"debug"'),
    *('"a\\u0000b"', '"\\u001b[31m"', '"\\ud800"', "[[1], {a = 1}]", '"""\n"""', '"0.0.0.0:1"'),
    *("9" * 30, "9" * 5000, '"' + "x" * 5000 + '"', "[" * 2000, "{a=" * 500, "0x" + "f" * 40),
]
LIMITS = {"tokens_per_day": 5, "requests_per_minute": 0, "models": ["a*"], "priority": "low"}
ROW = {
    "id": "0123abcd",
    "name": "ann",
    "created": 1,
    "sha256": "0" * 64,
    "is_admin": True,
    "limits": LIMITS,
}
ODD = ["0" * 64, "é" * 64, "ann", "\x1b", "\ud800", 10**15, -1, "a-b", ["keys"], ROW, {}]
ODD += [{"models": ["\x1b"]}, {"tokens_per_day": -1}, {"priority": []}, {"models": "["}]
PIECES = ["daiic-key-1:", "A" * 43 + "=", "hf_token", "0123abcd", " ", "\n", "é", "\0", "\x1b[31m"]


def toml(choices: Choices) -> bytes:
    """Return a settings file, or something like one."""
    if not choices.number(8):
        return choices.raw(300)
    keys = [*FIELDS, *FIELDS, "retries", '"\\u001b"', "a.b.c", "k" * 400, "[table]"]
    lines = [f"{choices.pick(keys)} = {choices.pick(TOML)}" for _ in range(choices.number(5))]
    return "\n".join(lines).encode() + choices.raw(choices.pick([1, 1, 40]))


def keys_file(choices: Choices) -> bytes:
    """Return a file of API keys, or something like one."""
    kind = choices.number(8)
    if kind == 0:
        return choices.raw(300)
    if kind == 1:
        return choices.pick([b"[", b'{"keys":', b"\xff"]) * choices.number(5000)
    rows = [
        {key: choices.pick(ODD) if not choices.number(6) else value for key, value in ROW.items()}
        for _ in range(choices.number(4))
    ]
    value = {"keys": rows} if kind > 2 else choices.value(["keys", *ROW], ODD)
    return json.dumps(value).encode()


def words(choices: Choices) -> bytes:
    """Return a small file of text, mostly."""
    text = "".join(choices.pick(PIECES) for _ in range(choices.number(5)))
    return text.encode() + choices.raw(choices.pick([1, 1, 80])) * choices.pick([1, 1, 1, 200])


def outcome(use: Callable[[], Any], file: Path) -> Any:
    """Return what `use` gives; a refusal has to be one line that can be shown."""
    try:
        return use()
    except REFUSALS as error:
        message = str(error)
        assert message.isprintable(), message
        assert 10 < len(message.replace(str(file), "")) < 1000, message
        return None


def look_at_settings(settings: Any) -> None:
    """Assert that settings can be used for what they are."""
    for name, value in msgspec.structs.asdict(settings).items():
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str):
                assert "\0" not in text and "\x1b" not in text
                pb.Heartbeat(name=text).SerializeToString()
            elif isinstance(text, float):
                # 0 is a time to unload what idles: never.
                assert 0 < text <= 1e9 or (name, text) == ("idle_unload", 0.0)


WORDS = BYTES
__all__ = ["SAMPLES", "WORDS", "target"]


def one(data: bytes) -> None:
    """Make each kind of file of `data` and have it read."""
    choices = Choices(data)
    shelf = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=shelf) as place:
        file = Path(place) / "file"
        file.write_bytes(toml(choices))
        kind = choices.pick(KINDS)
        settings = outcome(lambda: load(kind, "daemon", [f"--config={file}"], {}), file)
        if settings is not None:
            look_at_settings(settings)

        file.write_bytes(keys_file(choices))
        file.chmod(0o600)
        keys = outcome(KeyFile(file).load, file)
        outcome(lambda: KeyFile(file).find("daiic-0123abcd-secret"), file)
        outcome(lambda: KeyFile(file).create(choices.pick(["bob", *map(str, ODD)])), file)
        changes = {choices.pick([*LIMITS]): choices.pick([*ODD, 7, "high", ("b",)])}
        outcome(lambda: KeyFile(file).change("ann", changes), file)
        for key in (keys or {}).values():
            assert key.name.isprintable() and key.id.isalnum(), key
            assert key.limits.allows("a") in (True, False)

        file.write_bytes(words(choices))
        outcome(lambda: ClusterKey.load(file), file)
        settings = WorkerSettings(hf_token_file=str(file))
        token = outcome(lambda: read_hf_token(settings, {}), file)
        assert token is None or (token.isprintable() and token.isascii()), token

        state = Path(place) / "state"
        state.mkdir()
        (state / "worker-id").write_bytes(file.read_bytes())
        with structlog.testing.capture_logs():
            identity = outcome(lambda: identify(str(state), "name"), state)
        if identity is not None:
            assert identity.worker_id.isalnum() and identity.worker_id.isascii()
            assert stat.S_ISREG((state / "worker-id").stat().st_mode)
            assert identify(str(state), "name").worker_id == identity.worker_id


def target() -> Callable[[bytes], None]:
    """Return what takes one input."""
    return one
