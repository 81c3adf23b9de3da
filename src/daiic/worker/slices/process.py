"""The program of a rank: it computes a slice of every layer of a model, as its worker says.

The first rank answers tasks besides; the others take the steps that it tells them. It ends with
its worker, with the socket to it, and whenever another rank is gone.
"""

import asyncio
import logging
import os
import socket
import sys
import traceback
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.distributed as dist
from google.protobuf.message import DecodeError
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from daiic.background import in_thread
from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import check_one_kind
from daiic.worker.engines.torch import weights
from daiic.worker.engines.torch.errors import is_out_of_memory
from daiic.worker.engines.torch.tokenizer import load_tokenizer
from daiic.worker.engines.torch.weights import Weights
from daiic.worker.engines.transformers_text import growth
from daiic.worker.engines.transformers_text.chat_template import template_of
from daiic.worker.engines.transformers_text.engine import TextEngine
from daiic.worker.engines.transformers_text.growth import SHARE
from daiic.worker.engines.transformers_text.load import LEAST_CONTEXT, causal_language_model
from daiic.worker.slices import frames
from daiic.worker.slices.frames import BEGIN, CANCEL, ERROR, RESULT, TASK, TOLD, packed
from daiic.worker.slices.messages import Begin, Place, Told
from daiic.worker.slices.steps import LedTurns, follow

MEETING = timedelta(seconds=300)
"""Within which all ranks must have come to the store."""
PATIENCE = timedelta(days=365)
"""An idle rank waits for the next step; who watches for lost ones is the worker."""
TRIAL = pb.Task(text=pb.TextTask(prompt="1", max_tokens=1))
MAX_MESSAGE = 500

log = logging.getLogger("daiic.rank")


def main() -> None:
    """Run a rank; the argument is the socket of its worker."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    asyncio.run(Rank().serve(sys.argv[1]))


class Rank:
    """One rank, from its first to its last moment."""

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._writer: asyncio.StreamWriter | None = None

    async def serve(self, path: str) -> None:
        """Do what the worker at the socket `path` says, until that leaves."""
        self._running = asyncio.get_running_loop()
        reader, self._writer = await asyncio.open_unix_connection(path)
        begin = await frames.read_as(reader, BEGIN, Begin)
        working = asyncio.create_task(self._work(begin))
        engine: TextEngine | None = None
        try:
            while True:
                kind, content = await frames.read(reader)
                if engine is None:
                    engine = await working
                if kind == TASK:
                    task = pb.Task.FromString(content)
                    self._begin(engine, task)
                elif kind == CANCEL:
                    running = self._tasks.get(int.from_bytes(content))
                    if running is not None:
                        running.cancel()
        except (EOFError, OSError, DecodeError, frames.FrameError):
            os._exit(0)  # threads may wait for other ranks for ever

    async def _work(self, begin: Begin) -> TextEngine:
        try:
            if begin.device == "cpu" and begin.threads:
                torch.set_num_threads(begin.threads)
            await in_thread(lambda: self._meet(begin))
            loaded, tokenizer, room = await in_thread(lambda: self._load(begin))
            token_bytes = await in_thread(lambda: growth.measured_token_bytes(loaded.model))
            layers = int(loaded.model.config.get_text_config().num_hidden_layers)
            ready = Told(
                state="ready", bytes=loaded.footprint, layers=layers, precision=loaded.precision
            )
            if begin.place.rank:
                self._tell(ready)
                await in_thread(lambda: follow(loaded.model))
            engine = self._engine(begin, loaded, tokenizer, room, token_bytes)
            async for _ in engine.run(TRIAL):
                pass
            self._tell(
                msgspec.structs.replace(
                    ready,
                    choice=engine.choice,
                    capabilities=sorted(engine.capabilities),
                )
            )
            return engine
        except Exception as error:
            await self._fail(error)
            raise

    # ------------------------------------------------------------ in a thread

    def _meet(self, begin: Begin) -> None:
        """Bring all ranks together."""
        place = begin.place
        kind, _, index = begin.device.partition(":")
        os.environ.update(
            RANK=str(place.rank), WORLD_SIZE=str(place.ranks), LOCAL_RANK=index or "0"
        )
        store = PrefixStore(place.token, self._store(place))
        backend = "gloo" if kind == "cpu" else "cpu:gloo,cuda:nccl"
        if kind != "cpu":
            torch.cuda.set_device(int(index or 0))
        dist.init_process_group(
            backend, store=store, rank=place.rank, world_size=place.ranks, timeout=PATIENCE
        )

    def _store(self, place: Place) -> Store:
        """Return the store of all ranks; the first opens it, on the protected network alone."""
        if place.rank:
            return TCPStore(place.address, place.port, place.ranks, False, MEETING)
        listening = socket.create_server(
            (place.address, place.port),
            family=socket.AF_INET6 if ":" in place.address else socket.AF_INET,
        )
        return TCPStore(
            place.address,
            place.port,
            place.ranks,
            True,
            MEETING,
            wait_for_workers=False,
            master_listen_fd=listening.detach(),
        )

    def _load(self, begin: Begin) -> tuple[Weights, Any, int]:
        """Load the slice; return it, the tokenizer, and the bytes that every rank has left."""
        path = Path(begin.path)
        tokenizer = load_tokenizer(path)
        loaded = weights.load_slice(
            causal_language_model(path),
            path,
            dtype=getattr(torch, begin.precision),
            ranks=begin.place.ranks,
            progress=lambda done: self._tell(Told(state="loading", done=done)),
        )
        room = torch.tensor(begin.room - loaded.footprint)
        dist.all_reduce(room, dist.ReduceOp.MIN)
        return loaded, tokenizer, max(int(room), 0)

    # ------------------------------------------------------------ first rank

    def _engine(
        self, begin: Begin, loaded: Weights, tokenizer: Any, room: int, token_bytes: float
    ) -> TextEngine:
        model = loaded.model
        known = getattr(model.config.get_text_config(), "max_position_embeddings", None) or 1 << 20
        fitting = int(room * SHARE / (token_bytes + growth.working_bytes(model)))
        if fitting < min(known, LEAST_CONTEXT):
            raise TaskError(
                pb.OUT_OF_MEMORY,
                f"its slices fit, but leave memory for a context of {fitting} tokens only",
                "choose a smaller model, or let more workers share it",
            )
        context = min(known, fitting)
        turns: LedTurns | None = None

        def spare() -> int:
            return int((room - (turns.bytes if turns is not None else 0)) * SHARE)

        def new(_: int) -> LedTurns:
            nonlocal turns
            turns = LedTurns(
                model,
                on_fault=self._fault,
                slots=begin.slots,
                token_bytes=token_bytes,
                spare=spare,
            )
            return turns

        return TextEngine(
            loaded,
            tokenizer,
            template_of(tokenizer, begin.name),
            None,
            new(0),
            new,
            growth=None,
            context=context,
            choice=(
                f"a slice of every layer on each of {begin.place.ranks} like machines; "
                f"computes in {loaded.precision}; context {context}"
            ),
            fallback="",
        )

    def _begin(self, engine: TextEngine, task: pb.Task) -> None:
        number = task.id
        running = self._tasks[number] = asyncio.create_task(self._answer(engine, task))
        # Not in `_answer`: of a task that is cancelled before its first step, nothing is run.
        running.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _answer(self, engine: TextEngine, task: pb.Task) -> None:
        try:
            check_one_kind(task.text)
            parts: AsyncGenerator[pb.Result, None] = engine.run(task)
            async with aclosing(parts):
                async for part in parts:
                    part.id = task.id
                    self._say(RESULT, part.SerializeToString())
        except TaskError as error:
            self._say(ERROR, error.to_wire(task.id).SerializeToString())
        except Exception as error:
            await self._fail(error)

    # ----------------------------------------------------------------- saying

    def _fault(self, error: Exception) -> None:
        asyncio.run_coroutine_threadsafe(self._fail(error), self._running)

    async def _fail(self, error: Exception) -> None:
        """Tell why this rank is of no use, and end."""
        traceback.print_exception(error, file=sys.stderr)
        told = error if isinstance(error, TaskError) else None
        code = pb.OUT_OF_MEMORY if is_out_of_memory(error) else pb.INTERNAL
        message = str(error).partition("\n")[0][:MAX_MESSAGE] or type(error).__name__
        self._tell(
            Told(
                state="failed",
                code=told.code if told else code,
                message=told.message[:MAX_MESSAGE] if told else message,
                remedy=told.remedy[:MAX_MESSAGE] if told else "the worker's log says where",
                victim=isinstance(error, dist.DistError) or "gloo" in str(error),
            )
        )
        assert self._writer is not None
        await asyncio.sleep(0)  # let what was said in threads go first
        try:
            await self._writer.drain()
        finally:
            os._exit(1)

    def _tell(self, told: Told) -> None:
        content = msgspec.json.encode(told)
        self._running.call_soon_threadsafe(self._say, TOLD, content)

    def _say(self, kind: bytes, content: bytes) -> None:
        assert self._writer is not None
        self._writer.write(packed(kind, content))


if __name__ == "__main__":
    main()
