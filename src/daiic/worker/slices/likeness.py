"""What workers must have in common to compute slices of one model."""

import torch
import transformers

from daiic.version import VERSION
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend
from daiic.worker.slices.division import slice_dtype


def likeness(backend: Backend, precision: str) -> str:
    """Return this worker's: equal ones can compute together, and people can read the difference."""
    kind = pb.Backend.Name(backend.kind if backend.is_gpu else pb.CPU).lower()
    dtype = str(slice_dtype(backend, precision)).removeprefix("torch.")
    return (
        f"{kind}, {dtype}, daiic {VERSION}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}"
    )
