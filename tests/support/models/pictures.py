"""Pictures for models that see, and tasks that show them."""

import io
import random

from PIL import Image

from daiic.wire import daiic_pb2 as pb


def noise(seed: int, width: int = 90, height: int = 60) -> pb.Media:
    """Return a PNG in which no pixel is like another."""
    pixels = random.Random(seed).randbytes(3 * width * height)
    return media(Image.frombytes("RGB", (width, height), pixels))


def media(picture: Image.Image, kind: str = "PNG") -> pb.Media:
    """Return `picture` as a file of the `kind`."""
    file = io.BytesIO()
    picture.save(file, kind)
    return pb.Media(data=file.getvalue(), type=f"image/{kind.lower()}")


def message(*said: str | pb.Media, role: str = "user") -> pb.ChatMessage:
    """Return a message of texts and pictures."""
    return pb.ChatMessage(
        role=role,
        parts=[
            pb.ContentPart(text=part) if isinstance(part, str) else pb.ContentPart(image=part)
            for part in said
        ],
    )


def task(
    *messages: pb.ChatMessage,
    model: str = "",
    resume: pb.Resume | None = None,
    **parameters: object,
) -> pb.Task:
    """Return a streamed task of these messages."""
    text = pb.TextTask(messages=messages, **parameters)  # type: ignore[arg-type]
    return pb.Task(model=model, stream=True, text=text, resume=resume)
