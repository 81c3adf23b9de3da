"""A model of which a part lies elsewhere generates what it does in one place."""

import asyncio
from pathlib import Path

import pytest
import torch
from accelerate import dispatch_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from daiic.worker.engines.transformers_text import attention
from daiic.worker.engines.transformers_text.batch import Batch
from daiic.worker.engines.transformers_text.sampling import Sampling
from support.models.tiny_models import language_model

PLACES = {
    "model.embed_tokens": "cpu",
    "model.rotary_emb": "cpu",
    "model.layers.0": "cpu",
    "model.layers.1": "disk",
    "model.norm": "disk",
    "lm_head": "disk",
}


@pytest.mark.parametrize("packed", [True, False])
async def test_layers_that_come_when_needed_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    """The disk stands here for the RAM beside a GPU: accelerate fetches both alike."""
    torch.set_num_threads(1)
    path = language_model(tmp_path / "model")
    ids = AutoTokenizer.from_pretrained(path)("The quick brown fox").input_ids
    whole = AutoModelForCausalLM.from_pretrained(path)
    expected = whole.generate(torch.tensor([ids]), max_new_tokens=20, do_sample=False)
    if not packed:
        monkeypatch.setattr(attention, "serves", lambda *_: False)
    scattered = dispatch_model(
        AutoModelForCausalLM.from_pretrained(path).eval(),
        device_map=PLACES,
        main_device="cpu",
        offload_dir=tmp_path / "elsewhere",
        force_hooks=True,
    )
    assert scattered.lm_head.weight.device.type == "meta"
    batch = Batch(scattered, slots=4, capacity=1024)
    try:
        generation = batch.submit(ids, Sampling(0.0, 0, 1.0, 0), max_tokens=20, end_tokens=())
        made: list[int] = []
        async with asyncio.timeout(60):
            while not generation.ended:
                made += await generation.new_tokens()
    finally:
        await batch.close()
    assert made == expected[0, len(ids) :].tolist()
