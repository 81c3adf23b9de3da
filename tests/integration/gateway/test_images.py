"""Images through the real `openai` client: changed, varied, in other formats, as they become."""

import asyncio
import base64
import json
import sys
from pathlib import Path

import httpx
import openai
import pytest

from daiic.tether import tethered
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import PNG, ScriptedHead
from support.processes.gateway_process import RunningGateway

EDITS, VARIATIONS = "/v1/images/edits", "/v1/images/variations"
FILE = {"image": ("fox.png", PNG, "image/png")}


@pytest.fixture(autouse=True)
def can_edit(head: ScriptedHead) -> None:
    for model in head.status.workers[0].heartbeat.models:
        if model.kind == pb.IMAGE:
            model.capabilities.extend([pb.PAINT, pb.EDIT, pb.FORMATS])


async def test_an_image_is_changed_within_a_mask(
    gateway: RunningGateway, head: ScriptedHead, tmp_path: Path
) -> None:
    file = tmp_path / "füchse.png"
    file.write_bytes(PNG)
    edited = await gateway.openai.images.edit(
        image=file,
        mask=("mask.png", PNG + b"mask", "image/png"),
        prompt="a red fox",
        n=2,
        size="64x128",
        quality="high",
        input_fidelity="high",
        background="auto",
        user="ann",
        response_format="b64_json",
        extra_body={"seed": 7, "strength": 0.5, "steps": 4, "guidance": 2, "negative_prompt": "x"},
    )
    assert [base64.b64decode(image.b64_json) for image in edited.data] == [PNG, PNG]
    task = head.tasks[0]
    image = task.image
    assert (task.model, image.prompt, image.n, image.seed) == ("stub/image", "a red fox", 2, 7)
    assert (image.image.data, image.mask.data) == (PNG, PNG + b"mask")
    assert (image.width, image.height, image.steps, image.guidance) == (64, 128, 4, 2)
    assert (image.strength, image.negative_prompt, image.type) == (0.5, "x", "")


async def test_variations_begin_with_an_image_and_need_no_prompt(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    with pytest.deprecated_call():
        varied = await gateway.openai.images.create_variation(image=PNG, n=1, size="256x256")
    async with httpx.AsyncClient() as http:
        assert (await http.get(varied.data[0].url)).content == PNG
    image = head.tasks[0].image
    assert (image.image.data, image.prompt, image.width) == (PNG, "", 256)
    assert not image.HasField("mask") and not image.HasField("strength")


@pytest.mark.parametrize("form", ["webp", "jpeg"])
async def test_images_come_in_the_format_that_was_asked_for(
    gateway: RunningGateway, head: ScriptedHead, form: str
) -> None:
    made = await gateway.openai.images.generate(
        prompt="a fox", output_format=form, output_compression=0
    )
    assert made.output_format == form
    async with httpx.AsyncClient() as http:
        fetched = await http.get(made.data[0].url)
        renamed = await http.get(made.data[0].url.replace(f".{form}", ".png"))
    assert fetched.headers["content-type"] == f"image/{form}"
    assert fetched.headers["x-content-type-options"] == "nosniff"
    assert made.data[0].url.endswith(f".{form}") and renamed.status_code == 404
    assert (head.tasks[0].image.type, head.tasks[0].image.quality) == (f"image/{form}", 1)


async def test_a_stream_shows_how_images_become(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    client = gateway.openai.images
    asked = {"prompt": "a fox", "stream": True, "partial_images": 2, "output_format": "webp"}
    for begins, stream in (
        ("image_generation", await client.generate(**asked)),
        ("image_edit", await client.edit(image=PNG, **asked)),
    ):
        events = [event async for event in stream]
        names = ["progress"] * 2 + ["partial_image"] * 2 + ["completed"]
        assert [event.type for event in events] == [f"{begins}.{name}" for name in names]
        assert [event.partial_image_index for event in events[2:4]] == [0, 1]
        assert all(base64.b64decode(event.b64_json) == PNG for event in events[2:])
        assert {event.output_format for event in events[2:]} == {"webp"}
    assert [task.image.previews for task in head.tasks] == [2, 2]


async def test_what_a_second_worker_shows_again_is_not_sent_again(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    async def moved(task: pb.Task):
        for number in (0, 1, 0, 1, 2):
            yield pb.Result(previews=[pb.Preview(number=number, media=pb.Media(data=b"x"))])
        yield pb.Result(final=True, images=[pb.Image(png=PNG)])

    head.script = moved
    stream = await gateway.openai.images.generate(prompt="a fox", stream=True, partial_images=3)
    events = [event async for event in stream]
    assert [event.partial_image_index for event in events[:-1]] == [0, 1, 2]


@pytest.mark.parametrize(
    ("fields", "files", "param"),
    [
        ({}, FILE, "prompt"),
        ({"prompt": "x"}, {"mask": FILE["image"]}, "image"),
        ({"prompt": "x", "image": "fox"}, {"other": FILE["image"]}, "image[0]"),
        ({"prompt": "x"}, [("image[]", FILE["image"]), ("image[]", FILE["image"])], "image"),
        ({"prompt": "x"}, {"image": ("fox.png", b"", "image/png")}, "image"),
        ({"prompt": "x"}, FILE | {"markup": FILE["image"]}, "markup"),
        ({"prompt": "x", "n": "11"}, FILE, "n"),
        ({"prompt": "x", "strength": "2"}, FILE, "strength"),
        ({"prompt": "x", "size": "65x64"}, FILE, "size"),
        ({"prompt": "x", "background": "transparent"}, FILE, "background"),
        ({"prompt": "x", "output_format": "gif"}, FILE, "output_format"),
        ({"prompt": "x", "output_compression": "50"}, FILE, "output_compression"),
        ({"prompt": "x", "partial_images": "2"}, FILE, "partial_images"),
        ({"prompt": "x", "partial_images": "4", "stream": "true"}, FILE, "partial_images"),
    ],
)
async def test_what_cannot_be_is_refused_by_name(
    gateway: RunningGateway, head: ScriptedHead, fields: dict, files: object, param: str
) -> None:
    async with gateway.http as http:
        answer = await http.post(EDITS, data=fields, files=files)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert not head.tasks


async def test_a_form_is_no_json_and_json_no_form(gateway: RunningGateway) -> None:
    async with gateway.http as http:
        for path in (EDITS, VARIATIONS):
            answer = await http.post(path, json={"prompt": "x"})
            assert (answer.status_code, "multipart/form-data" in answer.text) == (415, True)
        answer = await http.post("/v1/images/generations", files=FILE)
        assert answer.status_code == 415


async def test_a_form_that_is_too_large_is_refused_whatever_it_says_of_its_size(
    start_gateway: StartGateway,
) -> None:
    gateway = await start_gateway("--max-body-bytes=2000")
    form = httpx.Request("POST", "http://x", data={"prompt": "x"}, files={"image": b"x" * 3000})

    async def pieces():
        yield form.read()

    async with gateway.http as http:
        for content in (form.read(), pieces()):
            headers = {"Content-Type": form.headers["content-type"]}
            answer = await http.post(EDITS, content=content, headers=headers)
            assert answer.status_code == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[evil"}, 403),
        ({"Origin": "http://localhost:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://chat.example.org", "Sec-Fetch-Site": "cross-site"}, 200),
        ({"Origin": "https://ai.example.org"}, 200),
    ],
)
async def test_no_page_of_another_origin_can_post_a_form(
    start_gateway: StartGateway, head: ScriptedHead, headers: dict[str, str], status: int
) -> None:
    gateway = await start_gateway(
        "--cors-origins=https://chat.example.org", "--public-url=https://ai.example.org"
    )
    async with gateway.http as http:
        answer = await http.post(EDITS, data={"prompt": "x"}, files=FILE, headers=headers)
        assert answer.status_code == status
        if status == 403:
            assert answer.json()["error"]["code"] == "origin_not_allowed"
        own = await http.post(VARIATIONS, files=FILE, headers={"Origin": gateway.url})
        assert own.status_code == 200
    assert len(head.tasks) == 1 + (status == 200)


@pytest.mark.parametrize("by", ["--url", "--head"])
async def test_the_command_line_edits_and_writes_what_was_asked_for(
    gateway: RunningGateway, head: ScriptedHead, tmp_path: Path, by: str
) -> None:
    (tmp_path / "fox.png").write_bytes(PNG)
    (tmp_path / "mask.png").write_bytes(b"mask")
    asked = ["image", "a blue fox", "--edit", "fox.png", "--mask", "mask.png", "--strength", "0.5"]
    asked += ["--format", "webp", "--quality", "70", "--seed", "5", "-m", "stub/image", "--json"]
    process = await asyncio.create_subprocess_exec(
        *tethered(Path(sys.executable).with_name("daiic"), *asked),
        *(by, gateway.url if by == "--url" else head.address),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert json.loads(said)["images"] == [{"path": "a-blue-fox-5.webp", "seed": 5}]
    assert (tmp_path / "a-blue-fox-5.webp").read_bytes() == PNG
    image = head.tasks[0].image
    assert (image.image.data, image.mask.data, image.strength) == (PNG, b"mask", 0.5)
    assert (image.type, image.quality, image.prompt) == ("image/webp", 70, "a blue fox")


async def test_edits_are_asked_of_models_that_can(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    for model in head.status.workers[0].heartbeat.models:
        if model.kind == pb.IMAGE:
            del model.capabilities[:]
    other = await _after_a_look(gateway)
    with pytest.raises(openai.BadRequestError, match="no worker has a model that can edit images"):
        await other.images.edit(image=PNG, prompt="x")


async def _after_a_look(gateway: RunningGateway) -> openai.AsyncOpenAI:
    """Return the client once the gateway knows what the models can do now."""
    client = gateway.openai
    while True:
        models = {model.id: model for model in (await client.models.list()).data}
        if "edit" not in models["stub/image"].capabilities:
            return client
