"""POST /v1/images/generations."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError, unsupported_parameter
from daiic.gateway.openai.schema.fields import ModelName, Seed


class ImageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/images/generations; `seed` and the fields after it are not OpenAI's."""

    prompt: Annotated[str, Meta(min_length=1, max_length=32000)]
    model: ModelName | None = None
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    size: Annotated[str, Meta(pattern=r"^(auto|[0-9]{1,4}x[0-9]{1,4})$")] | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    stream: bool | None = None
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

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        if self.output_format not in (None, "png"):
            raise unsupported_parameter("output_format", "images are PNG; leave it out")
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


class ImageData(msgspec.Struct, frozen=True, omit_defaults=True):
    """One image, inline or by URL; the same `seed` makes the same image again."""

    seed: int
    b64_json: str | None = None
    url: str | None = None


class Images(msgspec.Struct, frozen=True):
    """The response of /v1/images/generations."""

    created: int
    data: list[ImageData]


class ImageProgress(msgspec.Struct, frozen=True):
    """An event while images are being made; `total` is 0 if it is not known."""

    phase: str
    done: int
    total: int
    type: Literal["image_generation.progress"] = "image_generation.progress"


class ImageCompleted(msgspec.Struct, frozen=True):
    """An event with a finished image."""

    b64_json: str
    created_at: int
    index: int
    seed: int
    output_format: Literal["png"] = "png"
    type: Literal["image_generation.completed"] = "image_generation.completed"
