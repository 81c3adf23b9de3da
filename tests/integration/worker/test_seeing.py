"""Models of the families that see answer conversations with images as `generate` does."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import torch
import transformers

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import EngineOutOfMemory
from daiic.worker.engines.torch.tokenizer import load_tokenizer
from daiic.worker.engines.transformers_text.engine import TextEngine
from daiic.worker.engines.transformers_text.probe import probe
from daiic.worker.engines.transformers_text.turns import Turns
from daiic.worker.engines.transformers_vision.files import NEEDED
from daiic.worker.engines.transformers_vision.processor import load_processor
from daiic.worker.engines.transformers_vision.seeing import Seeing
from daiic.worker.media.images import all_decoded
from integration.worker.test_text import parts, serving, tokens
from support.models.models_document import ModelsTable
from support.models.pictures import message, noise, task
from support.models.vision_families import FAMILIES, family

TABLE = ModelsTable("models that see", ("Sees images", "Remarks"), list(FAMILIES))
MADE = 8

Make = Callable[[str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Write a family's model when it is first asked for, and return its folder."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("families")

    def make(name: str) -> Path:
        path = folder / name
        return path if path.is_dir() else family(name, path)

    return make


@pytest.fixture
async def engine(made: Make) -> AsyncIterator[TextEngine]:
    async with serving(made("LLaVA")) as engine:
        yield engine


def shown(**parameters: object) -> pb.Task:
    """A conversation with two pictures of unlike sizes, and words around them."""
    wanted: dict[str, object] = {"max_tokens": MADE, "temperature": 0.0} | parameters
    return task(
        message("First:", noise(1)),
        message("I see", role="assistant"),
        message(noise(2, 50, 130), "and now?"),
        **wanted,
    )


@torch.inference_mode()
def generated(path: Path, wanted: pb.Task) -> list[int]:
    """Return what transformers' own `generate` says."""
    tokenizer = load_tokenizer(path)
    images = [p.image for m in wanted.text.messages for p in m.parts if p.HasField("image")]
    conversation = [
        {
            "role": said.role,
            "content": [
                {"type": "text", "text": part.text} if part.text else {"type": "image"}
                for part in said.parts
            ],
        }
        for said in wanted.text.messages
    ]
    text = tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
    seen = load_processor(path, tokenizer, limit=1 << 20)(text, all_decoded(images))
    model = transformers.AutoModelForImageTextToText.from_pretrained(path).eval()
    ids = torch.tensor([seen.tokens])
    answer = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **seen.inputs,
        max_new_tokens=MADE,
        do_sample=False,
    )
    return answer[0, ids.shape[1] :].tolist()


@pytest.mark.parametrize("name", list(FAMILIES))
async def test_a_family_sees(name: str, made: Make) -> None:
    path = made(name)
    needed = NEEDED.get(FAMILIES[name].processor)
    TABLE.observe(name, "Sees images", f"with the package `{needed}`" if needed else "yes")
    if needed is not None:
        TABLE.observe(name, "Remarks", "answers texts alone without it")
        probed = probe(path, name)
        assert probed is not None and pb.SEE not in probed.capabilities
        async with serving(path) as engine:
            assert pb.SEE not in engine.capabilities
            assert len(await tokens(engine, task(message("hello"), max_tokens=2))) == 2
        return
    TABLE.observe(name, "Remarks", "–")
    probed = probe(path, name)
    assert probed is not None and pb.SEE in probed.capabilities
    async with serving(path) as engine:
        assert pb.SEE in engine.capabilities, engine.fallback
        whole = await tokens(engine, shown())
        assert whole == generated(path, shown())
        drawn = [
            shown(temperature=1.0, seed=1),
            task(message(noise(3), "?"), max_tokens=MADE, temperature=1.0, seed=2),
            task(message("no picture"), max_tokens=MADE, temperature=1.0, seed=3),
        ]
        alone = [await tokens(engine, wanted) for wanted in drawn]
        together = await asyncio.gather(*(tokens(engine, wanted) for wanted in drawn * 2))
        assert list(together) == alone * 2
        resumed = shown(temperature=1.0, seed=1)
        resumed.resume.tokens.extend(alone[0][:3])
        assert await tokens(engine, resumed) == alone[0][3:]


def test_the_table_says_what_was_observed() -> None:
    TABLE.check()


async def test_what_an_answer_may_have_left_counts_the_images(engine: TextEngine) -> None:
    last = (await parts(engine, shown(max_tokens=2)))[-1]
    with_one = (await parts(engine, task(message(noise(1)), max_tokens=2)))[-1]
    assert last.usage.prompt_tokens > 16 + with_one.usage.prompt_tokens > 32
    many = task(*(message(noise(1)) for _ in range(16)), message("word " * 1700), max_tokens=2)
    with pytest.raises(TaskError, match="tokens with its images") as refused:
        await tokens(engine, many)
    assert refused.value.code == pb.BAD_REQUEST


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([noise(1), "what does <image> mean?"], "places for 2"),
        ([pb.Media(data=b"GIF89a")], "not a valid PNG"),
        ([pb.Media(data=noise(1).data[:200])], "not a valid PNG"),
        ([noise(1)] * 17, "send at most 16"),
    ],
)
async def test_what_cannot_be_seen_is_refused(
    engine: TextEngine, said: list[str | pb.Media], why: str
) -> None:
    with pytest.raises(TaskError, match=why) as refused:
        await tokens(engine, task(message(*said), max_tokens=2))
    assert refused.value.code == pb.BAD_REQUEST
    assert len(await tokens(engine, task(message(noise(1)), max_tokens=2))) == 2


async def test_an_answer_that_is_closed_leaves_its_place(made: Make) -> None:
    async with serving(made("LLaVA"), slots=1) as engine:
        endless = engine.run(shown(max_tokens=500, temperature=1.0, seed=1))
        await anext(endless)
        await endless.aclose()
        async with asyncio.timeout(60):
            assert len(await tokens(engine, shown(max_tokens=2))) == 2


async def test_running_out_of_memory_is_told_apart(
    engine: TextEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = engine._seeing.generator if isinstance(engine._seeing, Seeing) else None
    assert isinstance(generator, Turns)
    whole = generator._model.forward

    def fail(*_: object, **inputs: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(generator._model, "forward", fail)
    with pytest.raises(EngineOutOfMemory):
        await tokens(engine, shown())
    monkeypatch.setattr(generator._model, "forward", whole)
    assert len(await tokens(engine, shown())) == MADE


@pytest.mark.parametrize(
    "asked",
    [
        {"size": {"height": 100_000, "width": 100_000}},
        {"size": {"shortest_edge": 1e9}},
        {"crop_size": {"height": 56, "width": 1 << 40}},
        {"size": {"height": float("nan"), "width": 56}},
        {"patch_size": 1},
        {"image_grid_pinpoints": [[4096, 4096]] * 100},
    ],
)
async def test_a_processor_that_asks_for_any_size_is_not_used(
    made: Make, tmp_path: Path, asked: dict[str, object]
) -> None:
    model = made("LLaVA")
    for file in model.iterdir():
        (tmp_path / file.name).symlink_to(file)
    (tmp_path / "preprocessor_config.json").unlink()
    config = json.loads((model / "preprocessor_config.json").read_text()) | asked
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config))
    async with serving(tmp_path) as engine:
        assert pb.SEE not in engine.capabilities
        assert "sees no images" in engine.fallback
        assert len(await tokens(engine, task(message("hello"), max_tokens=2))) == 2


ROOT = Path(__file__).parents[3]
FLOOR = ROOT / ".venv/floor"


@pytest.mark.skipif(
    not FLOOR.is_dir(), reason="needs .venv/floor, from tests/support/models/floor.sh .venv/floor"
)
def test_the_packaged_version_sees_the_same() -> None:
    def answers(path: str) -> dict[str, object]:
        done = subprocess.run(
            [sys.executable, ROOT / "tests/support/models/seen_texts.py"],
            env={**os.environ, "PYTHONPATH": f"{path}:{ROOT / 'tests'}"},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        answered: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
        return answered

    floor, newest = answers(str(FLOOR)), answers("")
    assert floor.pop("version") != newest.pop("version")
    assert floor == newest
