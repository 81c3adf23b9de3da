"""An image that a model is shown once, so that what does not work shows when it is loaded."""

import io

from PIL import Image

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Engine


def _grey() -> bytes:
    file = io.BytesIO()
    Image.new("L", (64, 64), 128).save(file, "PNG")
    return file.getvalue()


_TRIAL = pb.Task(
    text=pb.TextTask(
        messages=[
            pb.ChatMessage(
                role="user",
                parts=[
                    pb.ContentPart(image=pb.Media(data=_grey(), type="image/png")),
                    pb.ContentPart(text="1"),
                ],
            )
        ],
        max_tokens=1,
    )
)


async def try_seeing(engine: Engine) -> str:
    """Return why `engine` cannot answer a conversation with an image, nothing if it can."""
    try:
        async for _ in engine.run(_TRIAL):
            pass
    except TaskError as error:
        return error.message
    return ""
