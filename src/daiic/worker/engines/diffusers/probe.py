"""Which models on the disk are image pipelines, told from their files alone."""

from pathlib import Path

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.models.adapters import adapters_beside
from daiic.worker.models.checkpoint_files import (
    CONFIGURATION_SUFFIX,
    SUFFIX,
    is_file,
    tensor_names,
)
from daiic.worker.models.model_json import read_object

CAPABILITIES = frozenset({pb.PAINT, pb.FORMATS})
EDITING = frozenset(
    {
        "FluxPipeline",
        "QwenImagePipeline",
        "StableDiffusion3Pipeline",
        "StableDiffusionPipeline",
        "StableDiffusionXLPipeline",
        "ZImagePipeline",
    }
)
"""The pipelines from which diffusers makes one that begins with an image, and one with a mask."""
INDEX = "model_index.json"
_DENOISERS = ("model.diffusion_model.", "double_blocks.", "joint_blocks.")
"""How the names of a denoiser's tensors begin in single-file checkpoints of image models."""


def probe(path: Path, name: str) -> Probed | None:
    """See `EngineEntry`: a folder in diffusers' layout, or a file with a denoiser's weights."""
    if is_file(path):
        is_pipeline = path.suffix == SUFFIX and any(
            tensor.startswith(_DENOISERS) for tensor in tensor_names(path)
        )
        index = path.with_suffix(CONFIGURATION_SUFFIX) / INDEX
    else:
        index = path / INDEX
        is_pipeline = is_file(index)
    if not is_pipeline:
        return None
    # Every kind of which diffusers itself knows the configuration can edit.
    can_edit = not is_file(index) or _pipeline_in(index) in EDITING
    adapts = bool(adapters_beside(path, pb.IMAGE))
    return Probed(pb.IMAGE, capabilities(can_edit=can_edit, adapts=adapts))


def capabilities(*, can_edit: bool, adapts: bool) -> frozenset[pb.Capability]:
    """Return what an image pipeline can do, if it `adapts` with adapters beside it."""
    more = {pb.EDIT: can_edit, pb.ADAPTERS: adapts}
    return CAPABILITIES.union(capability for capability, has in more.items() if has)


def _pipeline_in(index: Path) -> str:
    return str((read_object(index) or {}).get("_class_name"))
