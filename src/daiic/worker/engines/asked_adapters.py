"""The adapters that a task asks for, checked against those that its model has."""

import math
from collections.abc import Collection, Iterable, Mapping

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.adapters import scale_of
from daiic.worker.models.model_json import shown


def scales_of(
    asked: Iterable[pb.Adapter], there: Collection[str], unusable: Mapping[str, str]
) -> dict[str, float]:
    """Return the scale of each adapter that is `asked` for, by name, in the task's order.

    Of one that is asked for more than once it is the sum. `there` are the adapters of the model;
    `unusable` says what is wrong with others beside it.

    Raises:
        TaskError: MODEL_NOT_FOUND for one that is not there, BAD_REQUEST for one that cannot be
            used, or a scale that is no number.
    """
    scales: dict[str, float] = {}
    for adapter in asked:
        if adapter.name in unusable:
            raise TaskError(pb.BAD_REQUEST, unusable[adapter.name], "use another adapter")
        if adapter.name not in there:
            raise TaskError(
                pb.MODEL_NOT_FOUND,
                f"the model has no adapter {shown(adapter.name)} on this worker",
                f"it has: {', '.join(sorted(there)) or 'none'}",
            )
        scale = scale_of(adapter)
        if not math.isfinite(scale):
            raise TaskError(
                pb.BAD_REQUEST,
                f"the adapter {adapter.name} has the scale {scale:g}",
                "send a number",
            )
        scales[adapter.name] = scales.get(adapter.name, 0.0) + scale
    return scales
