"""Settings from file, environment and flags, and the messages about those that do not fit."""

import os
from typing import Annotated

import msgspec
import pytest

from daiic.service.settings import (
    DaemonSettings,
    HostPort,
    Seconds,
    SettingsError,
    StatusAddress,
    load,
)
from support.hostile.settings_files import settings_files


class Sample(DaemonSettings, frozen=True, kw_only=True):
    """A daemon's settings."""

    listen: HostPort = "127.0.0.1:1"
    http_listen: StatusAddress = "127.0.0.1:2"
    heads: tuple[HostPort, ...] = ("127.0.0.1:7717",)
    timeout: Seconds = 10.0
    retries: Annotated[int, msgspec.Meta(ge=0, description="how often (100% sure)")] = 3
    offload: bool = True

    def __post_init__(self) -> None:
        if self.retries > 5 and not self.offload:
            raise ValueError("retries above 5 need offload = true")


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "daemon.toml"

    def write(text: str) -> str:
        path.write_text(text)
        return str(path)

    return write


def loaded(*arguments: str, **environment: str) -> Sample:
    return load(Sample, "daemon", arguments, environment)


def refusal(*arguments: str, **environment: str) -> str:
    with pytest.raises(SettingsError) as error:
        loaded(*arguments, **environment)
    return str(error.value)


def test_flags_win_over_environment_and_that_over_the_file(config):
    file = config("retries = 1\ntimeout = 1\nlog_level = 'debug'\n")
    settings = loaded(
        "--config", file, "--retries=3", DAIIC_RETRIES="2", DAIIC_TIMEOUT="2", OTHER_TIMEOUT="9"
    )
    assert (settings.retries, settings.timeout, settings.log_level) == (3, 2.0, "debug")
    assert settings.listen == "127.0.0.1:1"


def test_file_may_be_named_by_the_environment(config):
    assert loaded(DAIIC_CONFIG=config("retries = 4")).retries == 4


def test_lists_and_booleans_are_written_plainly():
    settings = loaded("--heads=a:1, [::1]:2", DAIIC_OFFLOAD="false")
    assert settings.heads == ("a:1", "[::1]:2")
    assert settings.offload is False


def test_file_that_is_missing_or_no_toml_is_named(config, tmp_path):
    assert "no.toml cannot be read: No such file" in refusal(f"--config={tmp_path}/no.toml")
    assert "daemon.toml is not TOML" in refusal("--config", config("retries ="))


def test_unknown_key_is_refused_with_the_one_that_was_meant(config):
    assert refusal("--config", config("retrys = 1")).endswith(
        "unknown key retrys; did you mean retries?"
    )
    assert "the keys are listen, http_listen" in refusal("--config", config("colour = 1"))


@pytest.mark.parametrize(
    "flag, value, expected",
    [
        ("--listen", "nowhere", "host:port, such as 127.0.0.1:7717"),
        ("--http-listen", "nowhere", 'host:port, such as 127.0.0.1:7718, or "" for none'),
        ("--timeout", "0", "a number of seconds above 0"),
        ("--timeout", "soon", "a number of seconds above 0"),
        ("--log-level", "loud", "one of debug, info, warning, error"),
        ("--offload", "perhaps", "bool"),
        ("--retries", "many", "int"),
        ("--heads", "a:1,b", "a list, each item host:port"),
    ],
)
def test_value_that_does_not_fit_is_named_with_its_key_its_source_and_what_would_be_right(
    flag, value, expected
):
    message = refusal(flag, value)
    key = flag.removeprefix("--").replace("-", "_")
    assert message.startswith(f'{key} = "{value}" (flag {flag}) is not valid: it must be ')
    assert expected in message


def test_file_has_types_where_text_has_not(config):
    assert "retries" in refusal("--config", config('retries = "3"'))
    assert loaded(DAIIC_RETRIES="3").retries == 3


def test_empty_address_switches_the_http_port_off():
    assert loaded("--http-listen=").http_listen == ""


def test_what_only_all_values_together_show_is_an_error_of_settings_too():
    assert refusal("--retries=6", "--offload=false") == "retries above 5 need offload = true"


def test_help_shows_every_key_with_its_default(capsys):
    with pytest.raises(SystemExit):
        loaded("--help")
    text = " ".join(capsys.readouterr().out.split())
    assert "how often (100% sure) (default: 3)" in text
    assert "--http-listen VALUE" in text


@pytest.mark.parametrize(
    ("content", "told"),
    [*settings_files("retries", "timeout"), (b'heads = ["a:1", "b:1\\n"]', "heads = ")],
)
def test_whatever_the_file_holds_the_message_is_one_short_line(config, tmp_path, content, told):
    path = config("")
    (tmp_path / "daemon.toml").write_bytes(content)
    message = refusal("--config", path)
    assert told in message
    assert message.isprintable() and len(message) < 1000


def test_settings_are_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(f"--config={tmp_path}/pipe")
    assert "not a regular file" in refusal("--config=/dev/zero")
    assert "Is a directory" in refusal(f"--config={tmp_path}")


def test_environment_that_is_not_utf_8_is_a_settings_error():
    assert "in UTF-8" in refusal(DAIIC_CLUSTER_KEY_FILE="a\udcff")
