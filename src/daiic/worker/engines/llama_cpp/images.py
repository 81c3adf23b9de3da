"""Images of a conversation, checked before llama-server decodes them."""

import base64
import io
import warnings

from PIL import Image

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS

FORMATS = ("PNG", "JPEG")
"""What both Pillow and llama-server's decoder read."""
MAX_PIXELS = LIMITS.pixels


def data_uri(image: pb.Media) -> str:
    """Return `image` as a URI that holds it.

    Only its header is read here; a file that lies further on is refused by llama-server.

    Raises:
        TaskError: BAD_REQUEST if it is none, of another format, or would take too much memory.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(image.data), formats=FORMATS) as opened:
                width, height = opened.size
                kind = Image.MIME[opened.format or ""]
    except (OSError, ValueError, SyntaxError, KeyError, Image.DecompressionBombError):
        raise TaskError(
            pb.BAD_REQUEST,
            f"an image of a message is not a valid {' or '.join(FORMATS)}",
            "convert it to one of them",
        ) from None
    if width * height > MAX_PIXELS:
        raise TaskError(
            pb.BAD_REQUEST,
            f"an image of a message has {width} × {height} pixels",
            f"make it smaller: {MAX_PIXELS >> 20} megapixels at most",
        )
    return f"data:{kind};base64,{base64.b64encode(image.data).decode()}"
