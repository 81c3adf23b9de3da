"""What /v1/images answers: whole, or in events."""

from typing import Literal

import msgspec

from daiic.gateway.openai.schema.images import ImageFormat


class ImageData(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image, inline or by URL; the same `seed` makes the same image again."""

    seed: int
    b64_json: str | None = None
    url: str | None = None


class Images(msgspec.Struct, frozen=True):
    """The response of /v1/images."""

    created: int
    data: list[ImageData]
    output_format: ImageFormat = "png"


class ImageProgress(msgspec.Struct, frozen=True):
    """An event while images are being made; `total` is 0 if it is not known."""

    phase: str
    done: int
    total: int
    type: Literal["image_generation.progress", "image_edit.progress"]


class PartialImage(msgspec.Struct, frozen=True):
    """An event that shows how the image `index` looks so far."""

    b64_json: str
    created_at: int
    index: int
    partial_image_index: int
    size: str
    output_format: ImageFormat
    type: Literal["image_generation.partial_image", "image_edit.partial_image"]
    quality: Literal["auto"] = "auto"
    background: Literal["opaque"] = "opaque"


class ImageCompleted(msgspec.Struct, frozen=True):
    """An event with the finished image `index`."""

    b64_json: str
    created_at: int
    index: int
    seed: int
    size: str
    output_format: ImageFormat
    type: Literal["image_generation.completed", "image_edit.completed"]
    quality: Literal["auto"] = "auto"
    background: Literal["opaque"] = "opaque"
