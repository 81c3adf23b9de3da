"""Language models are quantised where bitsandbytes can, and the engine says what is in force."""

from pathlib import Path

import bitsandbytes
import pytest
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.transformers_text.engine import TextEngine
from daiic.worker.engines.transformers_text.load import load as load_text
from daiic.worker.memory.budget import MemoryBudget
from support.models.tiny_models import language_model

MIB = 1 << 20
TASK = pb.Task(text=pb.TextTask(prompt="The quick", max_tokens=12))


async def loaded(path: Path, quantization: str, ram: int = 1024 * MIB) -> TextEngine:
    torch.set_num_threads(1)
    return await load_text(
        path,
        LoadOptions(backend.choose("cpu"), quantization=quantization, slots=2),
        MemoryBudget(vram_bytes=0, ram_bytes=ram),
        lambda done: None,
    )


async def answer(engine: TextEngine) -> list[int]:
    return [token async for part in engine.run(TASK) for token in part.tokens]


@pytest.mark.parametrize("quantization", ["8bit", "4bit"])
async def test_quantised_weights_take_less_and_still_answer(
    tmp_path: Path, quantization: str
) -> None:
    path = language_model(tmp_path / "model")
    whole, small = await loaded(path, "none"), await loaded(path, quantization)
    try:
        assert (small.quantization, small.fallback, small.placement) == (quantization, "", "ram")
        assert small.footprint < whole.footprint
        assert len(await answer(small)) == 12
        assert await answer(small) == await answer(small)
    finally:
        await whole.close()
        await small.close()


async def test_what_fits_is_not_quantised_unless_it_is_asked_for(tmp_path: Path) -> None:
    engine = await loaded(language_model(tmp_path / "model"), "auto")
    try:
        assert (engine.library, engine.quantization, engine.fallback) == (
            "transformers",
            "none",
            "",
        )
        assert "not quantised, as it fits" in engine.choice
    finally:
        await engine.close()


async def test_what_bitsandbytes_cannot_lay_out_for_a_processor_is_quantised_all_the_same(
    tmp_path: Path,
) -> None:
    odd = language_model(tmp_path / "odd", intermediate_size=72)  # no multiple of NF4's block
    engine = await loaded(odd, "4bit")
    try:
        assert (engine.quantization, engine.fallback) == ("4bit", "")
        assert len(await answer(engine)) == 12
    finally:
        await engine.close()


async def test_what_bitsandbytes_cannot_do_is_loaded_without_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def multiply(*_: object) -> None:
        raise RuntimeError("no kernel for this shape")

    # What it really cannot do depends on the processor.
    monkeypatch.setattr(bitsandbytes.nn.Linear4bit, "forward", multiply)
    path = language_model(tmp_path / "model")
    engine, whole = await loaded(path, "4bit"), await loaded(path, "none")
    try:
        assert engine.quantization == "none"
        assert engine.fallback == "bitsandbytes cannot quantise it: no kernel for this shape"
        assert await answer(engine) == await answer(whole)
        assert whole.fallback == ""
    finally:
        await engine.close()
        await whole.close()


async def test_a_model_beyond_the_budget_is_refused_before_it_is_loaded(tmp_path: Path) -> None:
    path = language_model(tmp_path / "model")
    with pytest.raises(TaskError, match="does not fit") as refusal:
        await loaded(path, "none", ram=1000)
    assert refusal.value.code == pb.OUT_OF_MEMORY
    assert "quantization" in refusal.value.remedy


async def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    path = language_model(tmp_path / "model")
    weights = path / "model.safetensors"
    torch.save({}, path / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(TaskError) as refusal:
        await loaded(path, "none")
    assert refusal.value.code == pb.UNSAFE_WEIGHTS


async def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    path = language_model(tmp_path / "model")
    (path / "config.json").write_text('{"model_type": "vit", "architectures": ["ViTModel"]}')
    with pytest.raises(TaskError, match="cannot be loaded") as refusal:
        await loaded(path, "none")
    assert refusal.value.code == pb.BAD_REQUEST


async def test_progress_goes_from_nothing_to_everything(tmp_path: Path) -> None:
    told: list[float] = []
    engine = await load_text(
        language_model(tmp_path / "model"),
        LoadOptions(backend.choose("cpu"), slots=1),
        MemoryBudget(0, 1024 * MIB),
        told.append,
    )
    await engine.close()
    assert told == sorted(told)
    assert (told[0], told[-1]) == (0.0, 1.0)
    assert len(told) > 5
