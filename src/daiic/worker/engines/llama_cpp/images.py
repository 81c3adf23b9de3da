"""Images of a conversation, checked before llama-server decodes them."""

import base64
import io

from daiic.wire import daiic_pb2 as pb
from daiic.worker.media.images import decoded, media_type

READ = ("image/png", "image/jpeg")
"""What llama-server's decoder reads."""


def data_uri(image: pb.Media) -> str:
    """Return `image` as a URI that holds it; blocks where it must be converted.

    Else only its header is read here; a file that lies further on is refused by llama-server.

    Raises:
        TaskError: BAD_REQUEST if it is none, of another format, or would take too much to decode.
    """
    kind, data = media_type(image), image.data
    if kind not in READ:
        converted = io.BytesIO()
        decoded(image).save(converted, "PNG")
        kind, data = "image/png", converted.getvalue()
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
