"""What images begin with: an image of the task, and maybe which of it may be changed."""

from dataclasses import dataclass

from PIL import Image, ImageOps

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.media import images

IMAGE = "the image"
MASK = "the mask"


@dataclass(frozen=True, slots=True)
class Canvas:
    """`image` is in RGB; `mask` in L, of the same size, with 255 where it may be changed."""

    image: Image.Image
    mask: Image.Image | None

    def fitted(self, width: int, height: int) -> "Canvas":
        """Return it scaled until it covers that many pixels, and its middle cut out."""
        size = (width, height)
        mask = self.mask
        return Canvas(
            ImageOps.fit(self.image, size, Image.Resampling.LANCZOS),
            ImageOps.fit(mask, size, Image.Resampling.NEAREST) if mask is not None else None,
        )

    def keep_rest(self, drawn: Image.Image) -> Image.Image:
        """Return `drawn` with every pixel that may not be changed as it was."""
        if self.mask is None:
            return drawn
        return Image.composite(drawn, self.image, self.mask)


def canvas_of(task: pb.ImageTask) -> Canvas | None:
    """Return what `task` begins with, `None` if that is nothing; blocks, for up to seconds.

    Raises:
        TaskError: BAD_REQUEST for images that cannot be read, or do not belong together.
    """
    if not task.HasField("image"):
        if task.HasField("mask"):
            raise TaskError(pb.BAD_REQUEST, "there is a mask without an image", "send both")
        return None
    image = images.decoded(task.image, IMAGE)
    if not task.HasField("mask"):
        return Canvas(image, None)
    mask = images.decoded_mask(task.mask, MASK)
    if mask.size != image.size:
        sides, its = (f"{size[0]} × {size[1]}" for size in (mask.size, image.size))
        raise TaskError(
            pb.BAD_REQUEST,
            f"the mask has {sides} pixels, and the image {its}",
            "send a mask of the image's size",
        )
    if mask.getextrema() == (0, 0):
        raise TaskError(
            pb.BAD_REQUEST,
            "the mask lets nothing be changed",
            "make it transparent, or if it has no transparency white, where that may be",
        )
    return Canvas(image, mask)
