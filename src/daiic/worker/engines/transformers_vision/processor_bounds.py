"""What a model's processor may make of an image: no more than published ones do.

Its configuration comes with the model, and may ask for any size.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from daiic.worker.limits import LIMITS
from daiic.worker.models.model_json import bad_file, read_object

MAX_SIDE = LIMITS.processor_side
MAX_AREA = LIMITS.pixels
MAX_PARTS = LIMITS.processor_parts
LEAST_PATCH = 4
"""Pixels; each patch may become a token."""
OTHERS = ("video_processor", "feature_extractor")
"""Parts of a configuration that are not for images."""
PARTS = frozenset({"max_patches", "max_image_tiles", "max_dynamic_tiles", "max_num_tiles"})
AREAS = frozenset({"max_pixels", "min_pixels", "longest_edge", "shortest_edge"})
"""Keys whose numbers some processors take for sides, and some for areas."""


def check_bounds(path: Path) -> None:
    """Refuse the model in the directory `path` if its processor could take any amount of memory.

    Raises:
        TaskError: BAD_REQUEST if it could.
    """
    for name in ("processor_config.json", "preprocessor_config.json"):
        file = path / name
        numbers = list(_numbers(read_object(file) or {}))
        by_area = any(key in {"merge_size", "temporal_patch_size"} for key, _ in numbers)
        for key, number in numbers:
            most = MAX_AREA if by_area and key in AREAS else MAX_SIDE
            if not abs(number) <= (MAX_PARTS if key in PARTS else most):
                raise bad_file(file, f"asks for too much of an image: {key} = {number:g}")
            if key == "patch_size" and number < LEAST_PATCH:
                raise bad_file(file, f"asks for patches that are too small: {number:g}")
        if sum(key == "image_grid_pinpoints" for key, _ in numbers) > 2 * MAX_PARTS:
            raise bad_file(file, "has too many `image_grid_pinpoints`")


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Yield all numbers in the JSON `value`, each with the key that it has or lies under."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in OTHERS and not name.endswith("token_id"):
                yield from _numbers(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value
