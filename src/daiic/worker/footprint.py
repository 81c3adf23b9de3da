"""How much memory a model will take, told before it is loaded."""

from daiic.worker.catalog import Model
from daiic.worker.checkpoint_files import read_header, weight_files

BYTES_PER_PARAMETER = {"none": 2.0, "8bit": 1.1, "4bit": 0.65}
"""With the scales that quantisation adds, and the layers that it leaves in 16 bits."""
WORKING_SHARE = 0.2
WORKING_LEAST = 256 << 20


def expected_footprint(model: Model, quantization: str) -> int:
    """Return the bytes that `model` needs for weights, caches and work; reads the disk."""
    parameters = sum(read_header(file).parameters for file in weight_files(model.path))
    weights = parameters * BYTES_PER_PARAMETER[quantization]
    return int(weights + max(weights * WORKING_SHARE, WORKING_LEAST))
