"""Where a pipeline's weights go for a given budget of GPU memory."""

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.diffusers.placement import Placement, choose

SIZES = {"unet": 500, "text_encoder": 120, "vae": 80}


@pytest.mark.parametrize(
    ("vram", "expected"),
    [
        (900, Placement.WHOLE),
        (899, Placement.BY_PART),
        (550, Placement.BY_PART),
        (549, Placement.BY_LAYER),
        (50, Placement.BY_LAYER),
    ],
)
def test_the_fastest_placement_that_fits_is_chosen(vram, expected):
    assert choose("m", SIZES, 200, 50, vram, ram_offload=True) is expected


def test_less_memory_than_the_work_itself_needs_is_an_error_with_a_way_out():
    with pytest.raises(TaskError) as refused:
        choose("m", SIZES, 200, 50, 49, ram_offload=True)
    assert refused.value.code == pb.OUT_OF_MEMORY
    assert "vram_limit" in refused.value.remedy


def test_without_offload_a_model_must_fit_whole():
    assert choose("m", SIZES, 200, 50, 900, ram_offload=False) is Placement.WHOLE
    with pytest.raises(TaskError) as refused:
        choose("m", SIZES, 200, 50, 899, ram_offload=False)
    assert "ram_offload = true" in refused.value.remedy
