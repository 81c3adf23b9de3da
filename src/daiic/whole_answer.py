"""An answer that came in parts, as one."""

from collections.abc import Sequence

from daiic.wire import daiic_pb2 as pb


def joined(parts: Sequence[pb.Result]) -> pb.Result:
    """Return `parts`, at least one and in order, as one part.

    What came before the answer started over is left out, and so is progress.
    """
    begin = max((n for n, part in enumerate(parts) if part.started_over), default=0)
    whole = pb.Result()
    for part in parts[begin:]:
        whole.MergeFrom(part)
    whole.text = "".join(part.text for part in parts[begin:])
    whole.reasoning = "".join(part.reasoning for part in parts[begin:])
    if whole.HasField("speech"):
        whole.speech.samples = b"".join(part.speech.samples for part in parts[begin:])
    whole.ClearField("progress")
    return whole
