"""Which models on the disk are image pipelines, told from their files alone."""

from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.models.checkpoint_files import SUFFIX, is_file, tensor_names

CAPABILITIES = frozenset({pb.PAINT})
_DENOISERS = ("model.diffusion_model.", "double_blocks.", "joint_blocks.")
"""How the names of a denoiser's tensors begin in single-file checkpoints of image models."""


def probe(path: Path, name: str) -> Probed | None:
    """See `EngineEntry`: a folder in diffusers' layout, or a file with a denoiser's weights."""
    if is_file(path):
        is_pipeline = path.suffix == SUFFIX and any(
            tensor.startswith(_DENOISERS) for tensor in tensor_names(path)
        )
    else:
        is_pipeline = is_file(path / "model_index.json")
    return Probed(pb.IMAGE, CAPABILITIES) if is_pipeline else None
