"""A worker is killed in the middle of an edit: the client gets the image that it would have got."""

import io
import shutil
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import choose
from daiic.worker.engines.diffusers.source import find_source
from daiic.worker.engines.interface import LoadOptions
from support.models.image_adapters import write_lora

SHAPES = Path(__file__).parents[3] / "local-models" / "tiny-shapes.safetensors"
MODEL = "shapes.safetensors"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A models folder with the small image model, and the adapter `wild` beside it."""
    models = tmp_path_factory.mktemp("models")
    shutil.copy(SHAPES, models / MODEL)
    shutil.copytree(SHAPES.with_suffix(".config"), models / "shapes.config")
    pipeline = find_source(SHAPES, LoadOptions(choose("cpu"))).load(torch.float32)
    write_lora(pipeline, models / "shapes.adapters" / "wild.safetensors", seed=1)
    return models


def png(image):
    file = io.BytesIO()
    image.save(file, "PNG")
    return pb.Media(data=file.getvalue(), type="image/png")


def edit():
    """An edit with everything that decides how it looks."""
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 64, 32))
    image = pb.ImageTask(
        prompt="a blue circle",
        image=png(Image.new("RGB", (64, 64), "red")),
        mask=png(mask),
        strength=0.8,
        steps=10,
        seed=5,
        previews=2,
        type="image/webp",
    )
    return pb.Task(model=MODEL, stream=True, image=image, adapters=[pb.Adapter(name="wild")])


async def test_a_killed_worker_costs_an_edit_nothing_but_time(start, folder):
    head = start("head")
    settings = {"models_dir": folder, "models": [MODEL], "ram_limit": 2 << 30, "threads": 1}
    workers = [start("worker", heads=[head.address], **settings) for _ in range(2)]
    for worker in workers:
        worker.said("serving")
    killed = []
    async with ClusterClient([head.address]) as client:
        whole = [part async for part in client.run(edit())]
        broken = []
        async for part in client.run(edit()):
            broken.append(part)
            if part.previews and not killed:
                victim = next(one for one in workers if one.worker_id == part.worker_id)
                victim.signal(signal.SIGKILL)
                victim.process.wait()
                killed.append(victim.worker_id)
    assert killed and broken[-1].worker_id not in killed
    assert not any(part.started_over for part in broken)
    (*_, before), (*_, after) = whole, broken
    assert [image.SerializeToString() for image in after.images] == [
        image.SerializeToString() for image in before.images
    ]
    assert after.images[0].media.type == "image/webp"
