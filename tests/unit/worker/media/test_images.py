"""Images of tasks are decoded if they are valid, and refused before that if they are bombs."""

import io
import struct
import zlib

import pytest
from PIL import Image

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.media import images


def media(kind: str = "PNG", size: tuple[int, int] = (8, 4), mode: str = "RGB", **how) -> pb.Media:
    made = io.BytesIO()
    Image.new(mode, size, how.pop("colour", "red")).save(made, kind, **how)
    return pb.Media(data=made.getvalue())


def chunk(name: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def bomb(width: int, height: int) -> pb.Media:
    """A PNG of some kilobytes that is all zeros."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1 << 20))
    content = chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return pb.Media(data=b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_an_image_is_decoded_whatever_its_message_calls_it(kind: str) -> None:
    image = media(kind)
    image.type = "image/gif"
    opened = images.decoded(image)
    assert (opened.mode, opened.size) == ("RGB", (8, 4))
    red, green, blue = opened.getpixel((4, 2))
    assert red > 240 and green < 20 and blue < 20
    assert images.media_type(image) == f"image/{kind.lower()}"


def test_what_is_transparent_is_white_and_what_lies_on_its_side_is_turned() -> None:
    clear = images.decoded(media(mode="RGBA", colour=(0, 0, 0, 0)))
    assert clear.getpixel((0, 0)) == (255, 255, 255)
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    assert images.decoded(media("JPEG", exif=exif)).size == (4, 8)
    assert images.decoded(media(mode="LA", colour=(0, 255))).getpixel((0, 0)) == (0, 0, 0)
    assert images.decoded(media(mode="I;16", colour=0)).mode == "RGB"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GIF89a",
        b"\x89PNG\r\n\x1a\n" + bytes(30),
        media("BMP").data,
        media("GIF").data,
        media("TIFF").data,
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"RIFF\x00\x00\x00\x00WEBPVP8X" + bytes(40),
    ],
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(TaskError, match="not a valid PNG, JPEG or WebP"):
        images.decoded(pb.Media(data=data, type="image/png"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_image_is_refused(kind: str) -> None:
    whole = media(kind, (64, 64)).data
    for length in range(0, len(whole), 7):
        try:
            images.decoded(pb.Media(data=whole[:length]))
        except TaskError as error:
            assert error.code == pb.BAD_REQUEST


@pytest.mark.parametrize("side", [(4097, 4097), (1 << 30, 1), (1, 1 << 30), (60_000, 60_000)])
def test_a_bomb_is_refused_by_its_header(side: tuple[int, int]) -> None:
    with pytest.raises(TaskError, match=r"pixels|not a valid"):
        images.decoded(bomb(*side))


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    image = media("JPEG", (64, 64), progressive=True)
    assert images.decoded(image).size == (64, 64)
    start = image.data.rindex(images.SCAN)
    scan, end = image.data[start:-2], image.data[-2:]
    with pytest.raises(TaskError, match="more than 100 scans"):
        images.decoded(pb.Media(data=image.data[:start] + scan * 101 + end))


def test_the_pixels_of_all_images_together_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS_OF_ALL", 64)
    assert len(images.all_decoded([media(), media()])) == 2
    with pytest.raises(TaskError, match="together"):
        images.all_decoded([media(), media(), media()])


def test_too_many_images_are_refused() -> None:
    part = pb.ContentPart(image=pb.Media(data=b"-"))
    message = pb.ChatMessage(role="user", parts=[part] * images.MAX_IMAGES)
    assert len(images.images_of(pb.TextTask(messages=[message]))) == images.MAX_IMAGES
    with pytest.raises(TaskError, match="send at most 16"):
        images.images_of(pb.TextTask(messages=[message, message]))
