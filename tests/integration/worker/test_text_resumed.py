"""What a task says of an earlier run cannot harm the tasks that run beside it."""

import asyncio
from pathlib import Path

import pytest
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from integration.worker.test_text import serving, task, tokens
from support.models.tiny_models import language_model


async def test_tokens_that_the_model_lacks_are_refused_and_disturb_no_other_task(
    tmp_path: Path,
) -> None:
    torch.set_num_threads(1)
    async with serving(language_model(tmp_path / "tiny")) as engine:
        largest = engine._model.config.get_text_config().vocab_size - 1
        wanted = task("The quick", max_tokens=60, seed=1)
        alone = await tokens(engine, wanted)
        beside = asyncio.create_task(tokens(engine, wanted))
        for token in (largest + 1, 2**31, 2**32 - 1):
            with pytest.raises(TaskError) as refused:
                await tokens(engine, task("x", pb.Resume(tokens=[1, token], index=1)))
            assert refused.value.code == pb.BAD_REQUEST
        assert await beside == alone
        assert await tokens(engine, task("x", pb.Resume(tokens=[largest], index=1), max_tokens=3))
