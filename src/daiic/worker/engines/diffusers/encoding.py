"""How images are written: as PNG, WebP or JPEG."""

import io
from dataclasses import dataclass

from PIL import Image

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.model_json import shown

FORMATS = {"image/png": "PNG", "image/webp": "WEBP", "image/jpeg": "JPEG"}
PNG = "image/png"
QUALITY = 90
"""Of WebP and JPEG, if the task does not say."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """`type` is one of FORMATS; `quality`, from 1 to 100, is that of WebP and JPEG.

    `asked` says whether the task names a type: images of others go into a field of their own.
    """

    type: str
    quality: int
    asked: bool

    def image(self, drawn: Image.Image, seed: int) -> pb.Image:
        """Return `drawn`, made from `seed`, for the answer."""
        media = self.media(drawn)
        return (
            pb.Image(media=media, seed=seed) if self.asked else pb.Image(png=media.data, seed=seed)
        )

    def media(self, drawn: Image.Image) -> pb.Media:
        """Return the file that shows `drawn`."""
        options = {} if self.type == PNG else {"quality": self.quality}
        file = io.BytesIO()
        drawn.save(file, FORMATS[self.type], **options)
        return pb.Media(data=file.getvalue(), type=self.type)


def encoding_of(task: pb.ImageTask) -> Encoding:
    """Return how `task` wants its images.

    Raises:
        TaskError: BAD_REQUEST, naming the key, its value and what would be right.
    """
    kind = task.type or PNG
    if kind not in FORMATS:
        raise TaskError(
            pb.BAD_REQUEST, f"type is {shown(kind)}", f"use one of {', '.join(FORMATS)}"
        )
    if task.quality and kind == PNG:
        raise TaskError(pb.BAD_REQUEST, f"quality is {task.quality}, of PNG", "leave it out")
    if task.quality > 100:
        raise TaskError(pb.BAD_REQUEST, f"quality is {task.quality}", "use a number from 1 to 100")
    return Encoding(kind, task.quality or QUALITY, bool(task.type))
