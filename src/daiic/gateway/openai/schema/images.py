"""POST /v1/images/generations, edits and variations: what may be asked for."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError, unsupported_parameter
from daiic.gateway.http.upload import Upload
from daiic.gateway.limits import IMAGES, PARTIAL_IMAGES
from daiic.gateway.openai.schema.fields import ModelName, Seed

ImageFormat = Literal["png", "jpeg", "webp"]
Prompt = Annotated[str, Meta(min_length=1, max_length=32000)]
Strength = Annotated[float, Meta(ge=0, le=1)]


class ImageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How images are made, whatever they are made from.

    `seed` and the fields after it are not OpenAI's. `output_compression` is the quality of WebP
    and JPEG, from 0 to 100.
    """

    model: ModelName | None = None
    n: Annotated[int, Meta(ge=1, le=IMAGES)] | None = None
    size: Annotated[str, Meta(pattern=r"^(auto|[0-9]{1,4}x[0-9]{1,4})$")] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: ImageFormat | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=PARTIAL_IMAGES)] | None = None
    seed: Seed | None = None
    negative_prompt: Annotated[str, Meta(max_length=32000)] | None = None
    steps: Annotated[int, Meta(ge=1, le=500)] | None = None
    guidance: Annotated[float, Meta(ge=0, le=50)] | None = None

    @property
    def pixels(self) -> tuple[int, int]:
        """Width and height; (0, 0) leaves them to the model."""
        if self.size in (None, "auto"):
            return 0, 0
        width, _, height = str(self.size).partition("x")
        return int(width), int(height)

    @property
    def format(self) -> ImageFormat:
        """How the images are written."""
        return self.output_format or "png"

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        width, height = self.pixels
        if self.size not in (None, "auto") and not (
            64 <= width <= 4096 and 64 <= height <= 4096 and width % 8 == height % 8 == 0
        ):
            raise ApiError(
                400,
                f"size: {self.size} is not possible; both sides must be multiples of 8 "
                "from 64 to 4096",
                param="size",
            )
        if self.background == "transparent":
            raise unsupported_parameter("background", "images are opaque; leave it out")
        if self.output_compression not in (None, 100) and self.format == "png":
            raise ApiError(
                400,
                'output_compression: PNG has none; send "output_format": "webp" or "jpeg" with it',
                param="output_compression",
            )
        if self.partial_images and not self.stream:
            raise ApiError(
                400,
                "partial_images: they are for streams only; send stream: true with it",
                param="partial_images",
            )


class ImageRequest(ImageOptions, frozen=True, kw_only=True):
    """POST /v1/images/generations."""

    prompt: Prompt


class _FromImage(ImageOptions, frozen=True, kw_only=True):
    """What begins with an image; `strength`, which is not OpenAI's, says how far it may get."""

    image: list[Upload]
    strength: Strength | None = None

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        ImageOptions.check(self)
        if len(self.image) != 1:
            raise unsupported_parameter(
                "image", f"it was sent {len(self.image)} times; models here begin with one image"
            )
        if not self.image[0].data:
            raise ApiError(400, "image: the file is empty", param="image")


class ImageEditRequest(_FromImage, frozen=True, kw_only=True):
    """POST /v1/images/edits, a form; what is transparent in `mask` is painted anew."""

    prompt: Prompt
    mask: Upload | None = None
    markup: Upload | None = None

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        _FromImage.check(self)
        if self.markup is not None:
            raise unsupported_parameter("markup", "models here follow a mask; send that")


class ImageVariationRequest(_FromImage, frozen=True, kw_only=True):
    """POST /v1/images/variations, a form."""
