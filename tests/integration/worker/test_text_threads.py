"""A CPU computes a language model with as many threads as were fastest, or as are set."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.transformers_text.load import load
from daiic.worker.memory.budget import MemoryBudget
from support.models.tiny_models import language_model

BUDGET = MemoryBudget(vram_bytes=0, ram_bytes=1 << 30)
TASK = pb.Task(text=pb.TextTask(prompt="The quick", max_tokens=4))


def threads_of_a_new_thread() -> int:
    """Return with how many threads torch computes in threads that begin now, as engines' do."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


@pytest.mark.parametrize("fewer", [True, False], ids=["measured", "set"])
async def test_the_choice_says_how_many_threads_compute_and_why(
    tmp_path: Path, fewer: bool
) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        engine = await load(
            language_model(tmp_path / "model"),
            LoadOptions(backend.choose("cpu"), threads=2, fewer_threads=fewer, slots=2),
            BUDGET,
            lambda done: None,
        )
        try:
            (number,) = re.findall(
                r"; ([12]) threads?, " + ("as measured" if fewer else "as it is set"), engine.choice
            )
            assert threads_of_a_new_thread() == int(number)
            assert fewer or number == "2"
            assert [part async for part in engine.run(TASK)][-1].final
        finally:
            await engine.close()
    finally:
        torch.set_num_threads(before)
