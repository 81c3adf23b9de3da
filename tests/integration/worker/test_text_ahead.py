"""Batches that are prepared while the one before runs, and flash attention, answer the same.

No card is at hand where this runs: the manager's asynchronous way computes on the CPU, with streams
and events that have nothing to wait for. What it shows is the order: a batch is prepared before the
tokens of the one before it are known. Flash attention is the packed attention under its name.
"""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AttentionInterface, AutoModelForCausalLM, PreTrainedModel
from transformers.generation.continuous_batching import input_outputs, model_runner
from transformers.generation.continuous_batching.input_outputs import ContinuousBatchingAsyncIOs

from daiic.worker.engines.transformers_text import attention, choice
from daiic.worker.engines.transformers_text.batch import Batch
from daiic.worker.engines.transformers_text.sampling import Sampling
from integration.worker.test_text import mixed_tasks, serving, tokens
from support.models.tiny_models import language_model

CAPACITY = 2048


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return language_model(tmp_path_factory.mktemp("models") / "tiny")


class Stream:
    """A stream on which all has happened at once."""

    def record_event(self, event: Any) -> None:
        pass

    def wait_event(self, event: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass


class Event:
    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def synchronize(self) -> None:
        pass


@pytest.fixture
def streams_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(ContinuousBatchingAsyncIOs, "_supported_device_types"):
        pytest.skip("this transformers prepares batches ahead with CUDA's own streams only")
    kinds = (*ContinuousBatchingAsyncIOs._supported_device_types, "cpu")
    monkeypatch.setattr(ContinuousBatchingAsyncIOs, "_supported_device_types", kinds)
    monkeypatch.setattr(torch, "Event", Event)
    monkeypatch.setattr(input_outputs, "create_device_stream", lambda device: Stream())
    for module in (input_outputs, model_runner):
        monkeypatch.setattr(module, "stream_context", lambda stream: torch.no_grad())


@pytest.fixture
def flash(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a flash attention seem to be installed, and serve the CPU."""
    monkeypatch.setattr(choice, "implementations", lambda model: ["flash_attention_2"])
    adjust = PreTrainedModel._check_and_adjust_attn_implementation

    def installed(self: Any, name: str | None, *args: Any, **kwargs: Any) -> Any:
        return name if name == "flash_attention_2" else adjust(self, name, *args, **kwargs)

    monkeypatch.setattr(PreTrainedModel, "_check_and_adjust_attn_implementation", installed)
    packed = AttentionInterface()
    monkeypatch.setitem(packed._global_mapping, "flash_attention_2", attention.packed_attention)


WANTED = [
    (length, Sampling(temperature, top_k, top_p, seed=length))
    for length, temperature, top_k, top_p in (
        (5, 0.0, 0, 1.0),
        (40, 1.0, 0, 1.0),
        (9, 0.7, 0, 0.8),
        (64, 1.5, 12, 1.0),
        (17, 1.0, 40, 0.5),
        (700, 1.0, 0, 0.95),
        (900, 0.0, 0, 1.0),
    )
]


async def answers(model: Any, *, ahead: bool, together: bool) -> list[list[int]]:
    """Return the texts that a batch makes; three at a time, as there are three places."""
    batch = Batch(model, slots=3, capacity=CAPACITY, ahead=ahead)

    async def answer(number: int, length: int, sampling: Sampling) -> list[int]:
        await asyncio.sleep(0.02 * number * together)
        prompt = [(place * 31 + length) % 200 for place in range(length)]
        stream = batch.submit(prompt, sampling, max_tokens=12 + number, end_tokens=())
        made = await stream.new_tokens()
        while not stream.ended:
            made += await stream.new_tokens()
        return made

    try:
        wanted = [answer(number, *one) for number, one in enumerate(WANTED)]
        if together:
            return list(await asyncio.gather(*wanted))
        return [await one for one in wanted]
    finally:
        await batch.close()


async def test_texts_are_the_same_when_batches_are_prepared_before_their_tokens_are_known(
    model: Path, streams_on_the_cpu: None
) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(model)
    expected = await answers(loaded, ahead=False, together=False)
    assert [len(made) for made in expected] == [12 + number for number in range(len(WANTED))]
    assert await answers(loaded, ahead=True, together=False) == expected
    assert await answers(loaded, ahead=True, together=True) == expected


async def test_a_cancelled_text_leaves_those_beside_it_as_they_are(
    model: Path, streams_on_the_cpu: None
) -> None:
    loaded = AutoModelForCausalLM.from_pretrained(model)
    sampling = Sampling(1.0, 0, 0.9, 3)
    texts = []
    for cancels in (False, True):
        batch = Batch(loaded, slots=4, capacity=CAPACITY, ahead=True)
        try:
            stream = batch.submit([7] * 20, sampling, max_tokens=60, end_tokens=())
            if cancels:
                other = batch.submit([8] * 50, sampling, max_tokens=900, end_tokens=())
                await other.new_tokens()
                batch.cancel(other)
            made = await stream.new_tokens()
            while not stream.ended:
                made += await stream.new_tokens()
            texts.append(made)
        finally:
            await batch.close()
    assert texts[0] == texts[1]


async def test_flash_attention_is_used_where_there_is_one_and_shown(
    model: Path, flash: None, streams_on_the_cpu: None
) -> None:
    tasks = mixed_tasks()
    async with serving(model) as engine:
        assert "flash attention 2, as it is installed" in engine.choice
        assert engine.fallback == ""
        assert engine._model.config._attn_implementation == "flash_attention_2"
        with_flash = await asyncio.gather(*(tokens(engine, one) for one in tasks))
        weights = engine._weights_bytes
        assert engine.footprint > weights
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choice, "implementations", lambda model: [])
        async with serving(model) as engine:
            assert "flash" not in engine.choice
            assert [await tokens(engine, one) for one in tasks] == list(with_flash)


@pytest.mark.parametrize("fault", ["import", "answer", "thread"])
async def test_flash_attention_that_does_not_work_gives_way_and_the_reason_is_told(
    model: Path,
    flash: None,
    streams_on_the_cpu: None,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ImportError("undefined symbol: _ZN3c105ErrorC2E\nand more")

    def blind(module: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
        return query.transpose(1, 2).contiguous(), None

    match fault:
        case "import":
            adjust = PreTrainedModel._check_and_adjust_attn_implementation

            def broken(self: Any, name: str | None, *args: Any, **kwargs: Any) -> Any:
                chosen = fail if name == "flash_attention_2" else adjust
                return chosen(self, name, *args, **kwargs)

            monkeypatch.setattr(PreTrainedModel, "_check_and_adjust_attn_implementation", broken)
            expected = "undefined symbol: _ZN3c105ErrorC2E"
        case "thread":
            names = AttentionInterface()._global_mapping
            monkeypatch.setitem(names, "flash_attention_2", fail)
            expected = "generation failed: undefined symbol: _ZN3c105ErrorC2E"
        case _:
            names = AttentionInterface()._global_mapping
            monkeypatch.setitem(names, "flash_attention_2", blind)
            expected = "batching computes something else than the model"
    async with serving(model) as engine:
        assert engine.fallback == f"no flash attention 2: {expected}"
        assert "flash" not in engine.choice
        assert engine._model.config._attn_implementation == attention.NAME
        assert len(await tokens(engine, mixed_tasks()[1])) > 0
