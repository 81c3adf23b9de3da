"""Language models are answered by vLLM in tokens, go on where they broke off, and leave nothing."""

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineDied, EngineOutOfMemory
from daiic.worker.engines.vllm import keeper
from support.llama_cpp.running import answer, resumed, whole
from support.models import tiny_gguf
from support.vllm.running import serving, use


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_gguf.TINY_CHAT, tmp_path / "chat"))


@pytest.fixture(params=["made up", "real"])
def program(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    use(request.param, tmp_path, monkeypatch)
    return request.param


def asks(question: str, **fields: Any) -> pb.Task:
    text = pb.TextTask(
        messages=[pb.ChatMessage(role="user", content=question)],
        **({"temperature": 0, "max_tokens": 32} | fields),
    )
    return pb.Task(model="chat", text=text)


def started(model: Path) -> Any:
    return json.loads(model.with_suffix(".started").read_text())


async def test_an_answer_goes_on_after_every_token(program: str, model: Path) -> None:
    task = asks("Tell me a story", stop=["and the", "never"], max_tokens=20)
    async with serving(model) as engine:
        parts = await answer(engine, task)
        assert len(parts) > 2
        for number in range(len(parts)):
            rest = await answer(engine, resumed(task, parts[:number]))
            assert whole(parts[:number]) + whole(rest) == whole(parts)
            assert rest[-1].usage.completion_tokens == parts[-1].usage.completion_tokens
            assert rest[-1].usage.prompt_tokens == parts[-1].usage.prompt_tokens


async def test_the_same_seed_makes_the_same_answer(program: str, model: Path) -> None:
    async with serving(model) as engine:
        first, again, other = [
            whole(await answer(engine, asks("Tell me a story", temperature=1.0, seed=seed)))
            for seed in (2**64 - 1, 2**64 - 1, 5)
        ]
    assert first == again != other


async def test_a_stop_string_ends_the_answer_before_it(program: str, model: Path) -> None:
    async with serving(model) as engine:
        undisturbed = whole(await answer(engine, asks("Tell me a story")))
        stop = undisturbed[8:12]
        parts = await answer(engine, asks("Tell me a story", stop=[stop]))
    assert whole(parts) == undisturbed[: undisturbed.index(stop)]
    assert parts[-1].finish_reason == pb.FINISH_REASON_STOP


async def test_what_begins_with_the_answer_is_made_once_more(program: str, model: Path) -> None:
    kept = asks("Give me a number", constraint=pb.Constraint(regex="^[0-9]{9}$"))
    varied = asks("Count to ten", sampling=pb.Sampling(frequency_penalty=1.5))
    async with serving(model) as engine:
        for task in (kept, varied):
            parts = await answer(engine, task)
            rest = await answer(engine, resumed(task, parts[:3]))
            assert whole(parts[:3]) + whole(rest) == whole(parts)
            assert not rest[0].started_over


async def test_likeliest_tokens_are_told_with_their_bytes(program: str, model: Path) -> None:
    task = asks("Count to ten", max_tokens=4, sampling=pb.Sampling(logprobs=2))
    async with serving(model) as engine:
        parts = await answer(engine, task)
    told = [one for part in parts for one in part.logprobs]
    assert [one.token.token for one in told] == [token for part in parts for token in part.tokens]
    assert b"".join(one.token.bytes for one in told).decode().strip() == whole(parts).strip()
    for one in told:
        assert len(one.likeliest) == 2 and one.likeliest[0].logprob >= one.likeliest[1].logprob


@pytest.mark.parametrize(
    "fields, said",
    [
        ({"constraint": pb.Constraint(regex="([")}, "Grammar error"),
        ({"constraint": pb.Constraint(json_schema="[]")}, "not a JSON object"),
        ({"sampling": pb.Sampling(min_p=2)}, "`min_p` is 2"),
        ({"stop": [""]}, "an empty string"),
    ],
    ids=["regex", "schema", "sampling", "stop"],
)
async def test_what_cannot_be_done_is_the_senders_to_change(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fields: Any, said: str
) -> None:
    use("made up", tmp_path, monkeypatch)
    async with serving(model) as engine:
        with pytest.raises(TaskError, match=said) as caught:
            await answer(engine, asks("Hello", **fields))
        assert caught.value.code == pb.BAD_REQUEST
        assert whole(await answer(engine, asks("Hello")))


async def test_what_was_read_before_is_told(program: str, model: Path) -> None:
    task = asks("Tell me a story " * 60, max_tokens=3)
    async with serving(model) as engine:
        await answer(engine, task)
        again = await answer(engine, task)
    assert 0 < again[-1].usage.cached_tokens < again[-1].usage.prompt_tokens


@pytest.mark.parametrize("which", ["the program", "what computes"])
async def test_a_death_in_the_middle_is_told_and_leaves_nothing(
    program: str, model: Path, which: str
) -> None:
    before = psutil.Process().children(recursive=True)
    async with serving(model) as engine:
        ours = [one for one in psutil.Process().children(recursive=True) if one not in before]
        (server,) = [
            one for one in ours if "--uds" in one.cmdline() and keeper.__file__ not in one.cmdline()
        ]
        computing = [one for one in ours if "Worker" in one.name() or "EngineCore" in one.cmdline()]
        parts = engine.run(asks("Tell me a story", max_tokens=900))
        await anext(parts)
        (computing[0] if which == "what computes" else server).kill()
        # Who is killed like that may have lacked memory.
        with pytest.raises((EngineDied, EngineOutOfMemory)):
            async for _ in parts:
                pass
        assert not engine.alive
    _, left = psutil.wait_procs(ours, timeout=10)
    assert not left


async def test_it_is_started_offline_and_silent(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("made up", tmp_path, monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    async with serving(model):
        told = started(model)
    environment = told["environment"]
    assert environment["VLLM_NO_USAGE_STATS"] == environment["DO_NOT_TRACK"] == "1"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert "HF_TOKEN" not in environment
    assert told["arguments"][told["arguments"].index("--load-format") + 1] == "safetensors"


async def test_what_it_says_of_a_model_that_it_refuses_is_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("made up", tmp_path, monkeypatch)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"refuse": "no such architecture"}))
    with pytest.raises(TaskError, match="no such architecture") as caught:
        async with serving(model):
            pass
    assert caught.value.code == pb.BAD_REQUEST


async def test_without_a_program_the_way_out_is_told(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(TaskError, match="there is no vllm on this worker") as caught:
        async with serving(model):
            pass
    assert caught.value.code == pb.UNSUPPORTED


async def test_it_ends_with_a_worker_that_is_killed(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use("made up", tmp_path, monkeypatch)
    script = tmp_path / "worker.py"
    script.write_text(
        "import asyncio, sys\n"
        f"sys.path[:0] = {sys.path!r}\n"
        "from pathlib import Path\n"
        "from support.vllm.running import serving\n"
        "async def main():\n"
        f"    async with serving(Path({str(model)!r})):\n"
        "        print('ready', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    worker = await asyncio.create_subprocess_exec(
        sys.executable, str(script), stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    while (await worker.stdout.readline()).strip() != b"ready":
        pass
    family = psutil.Process(worker.pid).children(recursive=True)
    core = psutil.Process(started(model)["core"])
    assert core in family
    worker.kill()
    await worker.wait()
    _, left = psutil.wait_procs(family, timeout=30)
    assert not left


def test_a_keeper_ends_as_its_command_did() -> None:
    for program, code in (("sys.exit(7)", 7), ("os.kill(os.getpid(), 9)", -signal.SIGKILL)):
        command = [
            sys.executable,
            keeper.__file__,
            sys.executable,
            "-c",
            f"import os, sys; {program}",
        ]
        assert os.spawnv(os.P_WAIT, sys.executable, command) == code
