"""A VITS says a text sentence by sentence, and goes on after any of them."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from daiic.errors import TaskError
from daiic.whole_answer import joined
from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.transformers_speech.engine import SpeechEngine
from daiic.worker.engines.transformers_speech.load import load
from daiic.worker.memory.budget import MemoryBudget

MODEL = Path(__file__).parents[3] / "local-models" / "daiic-tiny-voice"


async def loaded(path: Path) -> SpeechEngine:
    torch.set_num_threads(1)
    options = LoadOptions(backend.choose("cpu"))
    return await load(path, options, MemoryBudget(0, 1 << 30), lambda done: None)


@pytest.fixture(scope="module")
def engine() -> Iterator[SpeechEngine]:
    engine = asyncio.run(loaded(MODEL))
    yield engine
    asyncio.run(engine.close())


async def said(engine: SpeechEngine, resume: list[int] | None = None, **wanted) -> list[pb.Result]:
    speak = pb.SpeakTask(**({"input": "One. Two. Three.", "seed": 3} | wanted))
    task = pb.Task(model="voice", stream=True, speak=speak)
    if resume:
        task.resume.CopyFrom(pb.Resume(tokens=resume, index=len(resume)))
    return [part async for part in engine.run(task)]


async def test_a_run_that_goes_on_after_any_sentence_says_the_same(engine: SpeechEngine) -> None:
    whole = await said(engine)
    assert [list(part.tokens) for part in whole] == [[0], [1], [2], []] and whole[-1].final
    for count in range(1, 4):
        assert await said(engine, list(range(count))) == whole[count:]
    assert joined(whole).speech.samples == b"".join(part.speech.samples for part in whole)


async def test_the_sound_depends_on_seed_voice_and_speed(engine: SpeechEngine) -> None:
    usual = (await said(engine))[0].speech.samples
    assert (await said(engine))[0].speech.samples == usual
    assert (await said(engine, seed=4))[0].speech.samples != usual
    assert (await said(engine, voice="low"))[0].speech.samples == usual
    assert (await said(engine, voice="high"))[0].speech.samples != usual
    assert len((await said(engine, speed=0.5))[0].speech.samples) > 1.6 * len(usual)


@pytest.mark.parametrize(
    "wanted",
    [
        {"input": ""},
        {"input": "日本"},
        {"input": "one " * 2000},
        {"speed": 9.0},
        {"speed": float("nan")},
        {"voice": "nobody"},
    ],
    ids=str,
)
async def test_what_cannot_be_said_is_refused(
    engine: SpeechEngine, wanted: dict[str, object]
) -> None:
    with pytest.raises(TaskError) as caught:
        await said(engine, **wanted)
    assert caught.value.code == pb.BAD_REQUEST and caught.value.remedy


@pytest.mark.parametrize(
    "file, change",
    [
        ("config.json", {"upsample_rates": [1 << 20]}),
        ("config.json", {"sampling_rate": 1 << 40}),
        ("vocab.json", {"a": 1 << 40}),
        ("voices.json", {"low": 7}),
        ("tokenizer_config.json", {"phonemize": True}),
    ],
    ids=str,
)
async def test_a_model_that_asks_for_too_much_is_refused(
    tmp_path: Path, file: str, change: dict[str, object]
) -> None:
    path = tmp_path / "voice"
    shutil.copytree(MODEL, path)
    content = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps(content | change))
    with pytest.raises(TaskError) as caught:
        await loaded(path)
    assert caught.value.code == pb.BAD_REQUEST


async def test_a_sentence_that_would_take_for_ever_is_refused(engine: SpeechEngine) -> None:
    bias = engine._runner._model.duration_predictor.proj.bias
    before = bias.clone()
    for excess in (20.0, float("inf"), float("nan")):
        with torch.no_grad():
            bias.fill_(excess)
        with pytest.raises(TaskError, match="would take more than"):
            await said(engine)
    with torch.no_grad():
        bias.copy_(before)
