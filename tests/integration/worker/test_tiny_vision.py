"""The vision model that this repository ships tells drawn shapes apart."""

import base64
import contextlib
import random
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.worker.answer import answer
from daiic.worker.engines.transformers_text.engine import TextEngine
from integration.worker.test_text import parts, serving, text
from integration.worker.test_text_moved import tokens, worker
from support.models.pictures import media, message, task
from support.processes.gateway_process import gateway_process

MODELS = Path(__file__).parents[3] / "local-models"
NAME = "tiny-vision"
WHAT = "What is in the picture?"

sys.path.append(str(MODELS / "recipes"))
import picture_talk  # noqa: E402
import shapes  # noqa: E402


def drawn(drawing: shapes.Drawing, seed: int, size: int = shapes.SIZE) -> Image.Image:
    pixels = (shapes.draw(drawing, random.Random(seed)) + 1) * 127.5
    picture = Image.fromarray(pixels.round().byte().permute(1, 2, 0).numpy())
    return picture.resize((size, size), Image.Resampling.LANCZOS)


def drawing(colour: str, shape: str) -> shapes.Drawing:
    return shapes.Drawing(shape, colour, "", "large")


RED_CIRCLE, BLUE_SQUARE = drawing("red", "circle"), drawing("blue", "square")
RED, BLUE = media(drawn(RED_CIRCLE, 1)), media(drawn(BLUE_SQUARE, 2))


@pytest.fixture
async def engine() -> AsyncIterator[TextEngine]:
    torch.set_num_threads(1)
    async with serving(MODELS / NAME) as engine:
        yield engine


async def said(engine: TextEngine, *messages: pb.ChatMessage, **parameters: object) -> str:
    return text(await parts(engine, task(*messages, **parameters)))


async def test_shapes_and_colours_of_fresh_drawings_are_named(engine: TextEngine) -> None:
    rng = random.Random(11)
    drawings = [shapes.drawing_on_request(rng) for _ in range(40)]
    right = 0
    for seed, one in enumerate(drawings):
        kind, size = (("PNG", 64), ("JPEG", 64), ("WEBP", 200))[seed % 3]
        shown = media(drawn(one, 1000 + seed, size), kind)
        right += await said(engine, message(shown, WHAT)) == picture_talk.name(one)
    assert right >= 37


async def test_several_pictures_in_one_conversation(engine: TextEngine) -> None:
    both = message(RED, BLUE, "What is in the pictures?")
    assert await said(engine, both) == "a red circle and a blue square"
    first = [message(RED, WHAT), message("a red circle", role="assistant")]
    assert await said(engine, *first, message(BLUE, "And this one?")) == "a blue square"
    assert await said(engine, *first, message("Which colour is it?")) == "red"


async def test_a_conversation_without_pictures(engine: TextEngine) -> None:
    assert await said(engine, message("Hello")) == picture_talk.INTRODUCTION
    assert await said(engine, message(WHAT)) == picture_talk.NOTHING


STORY = task(
    message(RED, WHAT),
    message("a red circle", role="assistant"),
    message("Tell me a story about the picture."),
    model=NAME,
    temperature=0.7,
    seed=5,
    max_tokens=200,
)


async def test_a_story_goes_on_exactly_on_another_worker(tmp_path: Path) -> None:
    shutil.copytree(MODELS / NAME, tmp_path / "models" / NAME)

    async def told(manager: object, resume: pb.Resume | None = None) -> list[pb.Result]:
        wanted = pb.Task()
        wanted.CopyFrom(STORY)
        if resume is not None:
            wanted.resume.CopyFrom(resume)
        return [part async for part in answer(manager, wanted) if not part.HasField("progress")]  # type: ignore[arg-type]

    async with worker(tmp_path / "models", "none") as one, worker(MODELS, "none") as other:
        whole = await told(one)
        delivered = whole[:3]
        resume = pb.Resume(
            tokens=tokens(delivered),
            text=text(delivered),
            index=len(delivered),
            model=delivered[0].model,
        )
        rest = await told(other, resume)
    assert resume.tokens and tokens(rest)
    assert [*resume.tokens, *tokens(rest)] == tokens(whole)
    assert resume.text + text(rest) == text(whole)
    assert not any(part.started_over for part in rest)


async def test_a_killed_worker_amid_a_story_changes_nothing(start) -> None:
    head = start("head")
    given = {"heads": [head.address], "models_dir": MODELS, "models": [NAME], "ram_limit": 1 << 30}
    workers = [start("worker", **given) for _ in range(2)]
    for one in workers:
        one.said("serving")
    async with ClusterClient([head.address]) as client:
        whole = [part async for part in client.run(STORY)]
        broken: list[pb.Result] = []
        async with contextlib.aclosing(client.run(STORY)) as answers:
            async for part in answers:
                broken.append(part)
                if len(broken) == 3:
                    victim = next(one for one in workers if one.worker_id == part.worker_id)
                    victim.signal(signal.SIGKILL)
                    victim.process.wait()
        assert text(broken) == text(whole) and tokens(broken) == tokens(whole)
        assert broken[-1].worker_id != broken[0].worker_id
        async with gateway_process(f"--heads={head.address}") as gateway:
            await gateway.ready()
            shown = f"data:image/png;base64,{base64.b64encode(RED.data).decode()}"
            content = [
                {"type": "image_url", "image_url": {"url": shown}},
                {"type": "text", "text": WHAT},
            ]
            answered = await gateway.openai.chat.completions.create(
                model=NAME, messages=[{"role": "user", "content": content}]
            )
    assert answered.choices[0].message.content == "a red circle"
    assert answered.usage.prompt_tokens > 16
