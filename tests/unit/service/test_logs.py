"""What a daemon writes to stderr, at a terminal and for the journal."""

import logging

import pytest
import structlog

from daiic.service import logs


@pytest.fixture(autouse=True)
def restore():
    """Leave logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_journal_gets_priorities_on_every_line_and_no_time(monkeypatch, capsys):
    monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    logs.configure("info")
    structlog.get_logger().warning("worker lost", worker="w 1")
    logging.getLogger("library").error("two\nlines")
    structlog.get_logger().debug("not of interest")
    try:
        raise ValueError("at fault")
    except ValueError:
        structlog.get_logger().exception("failed")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == '<4>event="worker lost" worker="w 1"'
    assert all(line.startswith("<3>") for line in lines[1:])
    assert lines[-1] == "<3>ValueError: at fault"
    assert not any("not of interest" in line for line in lines)


def test_terminal_gets_the_time_the_level_and_what_was_said(monkeypatch, capsys):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logs.configure("warning")
    structlog.get_logger().info("not of interest")
    secret = "local variables are nobody's business"
    try:
        raise ValueError(len(secret))
    except ValueError:
        structlog.get_logger().exception("failed", worker="w")
    text = capsys.readouterr().err
    assert "[error    ] failed" in text
    assert "worker=w" in text
    assert "ValueError: 37" in text
    assert secret not in text
    assert "not of interest" not in text


@pytest.mark.parametrize("journal", [True, False])
def test_no_foreign_name_makes_an_entry_or_moves_the_cursor(monkeypatch, capsys, journal):
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    if journal:
        monkeypatch.setenv("JOURNAL_STREAM", "8:1")
    logs.configure("info")
    name = "m\n<0>event=forged\x1b[2J\u202e"
    structlog.get_logger().info("request", model=name, reason=ValueError(name))
    logging.getLogger("library").warning("it said %s", name)
    try:
        raise ValueError(name)
    except ValueError:
        structlog.get_logger().exception("failed")
    text = capsys.readouterr().err
    assert "\x1b" not in text and "\u202e" not in text and "\\x1b[2J" in text
    first, second, third, *_ = text.splitlines()
    assert "request" in first and "it said" in second and "failed" in third
