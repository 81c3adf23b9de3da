"""Images that come with tasks: their headers are checked before anything is decoded.

A few bytes may claim billions of pixels, or a JPEG thousands of passes over all of them.
"""

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from PIL import Image, ImageOps

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_IMAGES = LIMITS.seen_images
MAX_PIXELS = LIMITS.pixels
MAX_PIXELS_OF_ALL = LIMITS.all_pixels
MAX_SCANS = LIMITS.jpeg_scans
SCAN = b"\xff\xda"
"""The marker that begins a pass of a JPEG; compressed data never has it."""
HALF = 128
"""From which a pixel of a mask counts as white, or as opaque."""


def images_of(task: pb.TextTask) -> list[pb.Media]:
    """Return the images in the conversation of `task`, in their order.

    Raises:
        TaskError: BAD_REQUEST if they are too many.
    """
    images = [part.image for m in task.messages for part in m.parts if part.HasField("image")]
    if len(images) > MAX_IMAGES:
        raise _bad(f"the conversation has {len(images)} images", f"send at most {MAX_IMAGES}")
    return images


def media_type(image: pb.Media, name: str = "an image of a message") -> str:
    """Return what `image` is, such as "image/png", from its header; `name` is for messages.

    Raises:
        TaskError: BAD_REQUEST if it is none of FORMATS, or would take too much to decode.
    """
    with _opened(image, name) as opened:
        return Image.MIME[opened.format or ""]


def decoded(image: pb.Media, name: str = "an image of a message") -> Image.Image:
    """Return `image` upright, in RGB, on white where it is transparent; blocks, for up to seconds.

    Of several pictures in it, it is the first.

    Raises:
        TaskError: BAD_REQUEST as `media_type`, or if it is damaged.
    """
    with _opened(image, name) as opened:
        upright = ImageOps.exif_transpose(opened)
        if not upright.has_transparency_data:
            return upright.convert("RGB")
        ground = Image.new("RGBA", upright.size, "white")
        return Image.alpha_composite(ground, upright.convert("RGBA")).convert("RGB")


def decoded_mask(image: pb.Media, name: str) -> Image.Image:
    """Return `image` upright, in L: 255 where it is transparent, or white if it never is, else 0.

    OpenAI's clients make what may be changed transparent, most others white.

    Raises:
        TaskError: BAD_REQUEST as `decoded`.
    """
    with _opened(image, name) as opened:
        upright = ImageOps.exif_transpose(opened)
        mask = upright.convert("L")
        if upright.has_transparency_data:
            opacity = upright.convert("RGBA").getchannel("A")
            if any(opacity.histogram()[:HALF]):
                mask = ImageOps.invert(opacity)
        return mask.point(lambda value: 255 if value >= HALF else 0)


def all_decoded(images: Sequence[pb.Media]) -> list[Image.Image]:
    """Return the `images` of a conversation as `decoded` does; blocks.

    Raises:
        TaskError: BAD_REQUEST as that, or if all together have too many pixels.
    """
    pixels = 0
    for image in images:
        with _opened(image, "an image of a message") as opened:
            pixels += opened.width * opened.height
    if pixels > MAX_PIXELS_OF_ALL:
        raise _bad(
            f"the images of the conversation have {pixels / 1e6:.1f} megapixels together",
            f"make them smaller: {MAX_PIXELS_OF_ALL >> 20} megapixels at most",
        )
    return [decoded(image) for image in images]


@contextmanager
def _opened(image: pb.Media, name: str) -> Iterator[Image.Image]:
    """Give `image` with its header read and checked; decoding it may still raise in the block."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image.data), formats=FORMATS) as opened:
                _check(opened, image.data, name)
                yield opened
    # Which errors damaged files lead to differs by format.
    except (OSError, ValueError, SyntaxError, KeyError, EOFError, IndexError, TypeError):
        raise _not_valid(name) from None
    except Image.DecompressionBombError:
        raise _not_valid(name) from None


def _check(opened: Image.Image, data: bytes, name: str) -> None:
    width, height = opened.size
    if width * height > MAX_PIXELS:
        raise _bad(
            f"{name} has {width} × {height} pixels",
            f"make it smaller: {MAX_PIXELS >> 20} megapixels at most",
        )
    if opened.format == "JPEG" and data.count(SCAN) > MAX_SCANS:
        raise _bad(f"{name} is a JPEG of more than {MAX_SCANS} scans", "save it again")


def _not_valid(name: str) -> TaskError:
    return _bad(f"{name} is not a valid PNG, JPEG or WebP", "convert it to one of them")


def _bad(what: str, remedy: str) -> TaskError:
    return TaskError(pb.BAD_REQUEST, what, remedy)
