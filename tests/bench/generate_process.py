"""`generate` of transformers in a process of its own, one static batch at a time."""

import asyncio
import multiprocessing
import time
from multiprocessing.connection import Connection
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, StoppingCriteria, StoppingCriteriaList


class GenerateProcess:
    """Continues texts with `tokens` each, all at once."""

    def __init__(self, model: Path, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(
            target=_work, args=(theirs, str(model), threads), daemon=True
        )
        self._process.start()
        theirs.close()
        self._ours.recv()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    async def serve(self, prompts: list[str], tokens: int) -> tuple[float, int]:
        """Return the seconds to the first tokens, and how many were made in all."""
        self._ours.send((prompts, tokens))
        return await asyncio.to_thread(self._ours.recv)

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.join()


class _FirstToken(StoppingCriteria):  # type: ignore[misc]
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self, ids: torch.Tensor, scores: object, **more: object) -> torch.Tensor:
        self.at = self.at or time.perf_counter()
        return torch.zeros(ids.shape[0], dtype=torch.bool)


def _work(pipe: Connection, path: str, threads: int) -> None:
    torch.set_num_threads(threads)
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
    pipe.send("ready")
    while True:
        try:
            prompts, tokens = pipe.recv()
        except EOFError:
            return
        rows = [tokenizer(prompt).input_ids for prompt in prompts]
        length = min(map(len, rows))  # they differ by the digits of a number
        ids = torch.tensor([row[:length] for row in rows])
        first = _FirstToken()
        began = time.perf_counter()
        with torch.inference_mode():
            made = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=tokens,
                do_sample=False,
                pad_token_id=0,
                stopping_criteria=StoppingCriteriaList([first]),
            )
        pipe.send((first.at - began, made[:, length:].numel()))
