"""Whether a language model sees images, told from its files alone."""

import importlib.util
from pathlib import Path
from typing import Any

from daiic.worker.limits import LIMITS
from daiic.worker.models.architectures import config_in
from daiic.worker.models.model_json import read_object

PROCESSORS = ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json")
"""Files that may name the processor, the most telling one first."""
NEEDED = {
    "Cohere2VisionProcessor": "torchvision",
    "Lfm2VlProcessor": "torchvision",
    "Llama4Processor": "torchvision",
    "PixtralProcessor": "torchvision",
    "SmolVLMProcessor": "num2words",
}
"""Packages, not among the worker's, without which transformers does not run a processor."""


def sees(path: Path, name: str) -> bool:
    """Return whether the model `name` in the folder `path` has what it takes to see images here.

    Raises:
        TaskError: BAD_REQUEST if a file that tells it is not valid.
    """
    config = config_in(path, name)
    if not any(isinstance(config.get(key), dict) for key in ("vision_config", "vision_model")):
        return False
    if not any(_images(path / file) for file in PROCESSORS[:2]):
        return False
    needed = NEEDED.get(processor_name(path))
    return needed is None or importlib.util.find_spec(needed) is not None


def processor_name(path: Path) -> str:
    """Return the name of the processor of the model in the folder `path`, empty if none is named.

    Raises:
        TaskError: BAD_REQUEST if a file that may name it is not valid.
    """
    for file in PROCESSORS:
        named = _object(path / file).get("processor_class")
        if isinstance(named, str) and named:
            return named
    return ""


def _images(file: Path) -> bool:
    config = _object(file)
    return "image_processor" in config or "image_processor_type" in config


def _object(file: Path) -> dict[str, Any]:
    most = LIMITS.tokenizer_config if file.name == "tokenizer_config.json" else LIMITS.config
    return read_object(file, most) or {}
