"""A configuration may ask for any number of layers, of any width: no more than its weights fill.

What the weights of a checkpoint lack would be made up in memory, and each
module takes some kilobytes even while it is empty. So modules and numbers are
counted while a model is put together, before there is memory for any of them.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn
from torch.nn.modules import module as registration

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS

MAX_MODULES = LIMITS.modules
"""The largest published ones, with an expert a module, have half as many."""
SPARE = 1 << 26
"""Numbers that may be missing: some checkpoints come without a pooling layer, or a small head."""


@contextmanager
def kept_within(numbers: int, name: str) -> Iterator[None]:
    """Let this thread put together the model `name`, of modules with `numbers` for weights.

    Raises:
        TaskError: BAD_REQUEST from the inside as soon as there are more.
    """
    thread = threading.get_ident()
    modules = found = 0

    def count_module(parent: nn.Module, key: str, child: Any) -> None:
        nonlocal modules
        if threading.get_ident() == thread:
            modules += 1
            if modules > MAX_MODULES:
                raise _refused(name, f"more than {MAX_MODULES} parts")

    def count_numbers(parent: nn.Module, key: str, weight: Any) -> None:
        nonlocal found
        if threading.get_ident() != thread or weight is None:
            return
        # A weight that is loaded takes the place of the one that was made up for it.
        if weight.is_meta or parent._parameters.get(key) is None:
            found += weight.numel()
            if found > numbers + SPARE:
                raise _refused(name, "more weights than its checkpoint has")

    hooks = (
        registration.register_module_module_registration_hook(count_module),
        registration.register_module_parameter_registration_hook(count_numbers),
    )
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _refused(name: str, what: str) -> TaskError:
    return TaskError(
        pb.BAD_REQUEST,
        f"{name} is refused: its config.json asks for {what}",
        "download the model again, or choose another one",
    )
