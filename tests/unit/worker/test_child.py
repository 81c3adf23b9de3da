"""A program that the worker starts knows none of its secrets, and says what it dies of."""

import asyncio
import sys

import pytest

from daiic.worker.child import LINES, MAX_LINE, Child


def python(code: str) -> list[str]:
    return [sys.executable, "-c", f"import os, sys\n{code}"]


async def test_it_is_told_of_cards_and_paths_and_of_no_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("HF_TOKEN", "OPENAI_API_KEY", "CREDENTIALS_DIRECTORY", "LLAMA_ARG_HOST"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    child = await Child.start(
        "it", python("print(sorted(os.environ.items()), file=sys.stderr)"), {"OWN": "yes"}
    )
    await child.ended()
    said = "".join(child.said)
    assert "('CUDA_VISIBLE_DEVICES', '1')" in said
    assert "('OWN', 'yes')" in said
    assert "('PATH'" in said
    assert "secret" not in said


@pytest.mark.parametrize(
    "chosen, told",
    [
        ({}, "None 1000"),
        ({"GOMP_SPINCOUNT": "7"}, "None 7"),
        ({"OMP_WAIT_POLICY": "active"}, "active None"),
    ],
)
async def test_its_threads_soon_sleep_while_they_wait_unless_a_user_wants_it_otherwise(
    monkeypatch: pytest.MonkeyPatch, chosen: dict[str, str], told: str
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    names = "'OMP_WAIT_POLICY', 'GOMP_SPINCOUNT'"
    says = f"print(*(os.environ.get(name) for name in ({names})), file=sys.stderr)"
    child = await Child.start("it", python(says))
    await child.ended()
    assert child.said == (told,)


async def test_its_last_error_is_kept_however_much_it_writes() -> None:
    child = await Child.start(
        "it",
        python(
            f"for i in range({LINES * 3}): print('line', i, file=sys.stderr)\n"
            "print('error: no such model', file=sys.stderr)\n"
            f"print('x' * {MAX_LINE * 3}, file=sys.stderr)\n"
            "sys.stderr.buffer.write(b'\\xff bye\\n')\nsys.exit(3)"
        ),
    )
    await child.ended()
    assert not child.alive
    assert child.returncode == 3
    assert child.last_words() == "error: no such model"
    assert len(child.said) <= LINES
    assert child.said[-1] == "\N{REPLACEMENT CHARACTER} bye"


async def test_its_last_words_can_be_shown_on_a_terminal() -> None:
    child = await Child.start("it", python(r"sys.stderr.write('error: \x1b[2J\u202eno\n')"))
    await child.ended()
    assert child.last_words() == r"error: \x1b[2J\u202eno"


async def test_one_that_does_not_want_to_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daiic.worker.child.PATIENCE", 0.2)
    child = await Child.start(
        "it",
        python(
            "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print('on', file=sys.stderr, flush=True)\nwhile True: time.sleep(1)"
        ),
    )
    while not child.said:
        await asyncio.sleep(0.01)
    assert child.bytes > 1 << 20
    await child.close()
    assert child.returncode == -9
    assert child.bytes == 0


async def test_a_missing_program_says_so_as_it_ends() -> None:
    child = await Child.start("it", ["/no/such/program"])
    await child.ended()
    assert "/no/such/program" in child.last_words()
