"""The slices that this worker computes for groups that other workers lead."""

import asyncio
import contextlib
import secrets
from collections.abc import Callable
from contextlib import ExitStack

import msgspec
import structlog

from daiic.background import in_thread
from daiic.errors import TaskError
from daiic.service.settings import SettingsError
from daiic.wire import daiic_pb2 as pb
from daiic.wire.address import format_address
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.digests import digests_of
from daiic.worker.models.model import Model
from daiic.worker.models.model_view import checked_view
from daiic.worker.sharding.group import Lead
from daiic.worker.sharding.tunnel import Tunnel, TunnelError, free_port
from daiic.worker.slices import frames
from daiic.worker.slices.division import division, slice_dtype
from daiic.worker.slices.frames import ASK, NONCE, TOLD, packed
from daiic.worker.slices.interface import address_of
from daiic.worker.slices.messages import PROOF, Ask, Begin, Told, proof
from daiic.worker.slices.rank import Rank
from daiic.worker.slices.room import place_for

MAX_ASK = 16 << 10
ASKS = 8
"""Connections at once; more wait for nothing and are closed."""
HURRY = 10.0
"""Seconds in which who has connected must have asked."""
PAUSE = 2.0

log = structlog.get_logger()


class SliceHost:
    """Computes slices of models that are on this worker's disk, for those who know the secret."""

    def __init__(
        self,
        lead: Lead,
        options: Callable[[], LoadOptions],
        budget: Callable[[], MemoryBudget],
        find: Callable[[str], Model | None],
        on_change: Callable[[], None],
    ) -> None:
        """`budget` measures what a rank may take now, `find` knows the models on the disk.

        Raises:
            SettingsError: if the interface that `lead` names cannot be used.
        """
        address_of(lead.interface)
        self._lead = lead
        self._options = options
        self._budget = budget
        self._find = find
        self._on_change = on_change
        self._ranks: dict[Rank, int] = {}
        self._asking = 0
        self._loading = asyncio.Lock()
        self._address = ""

    @property
    def held(self) -> int:
        """Bytes that its ranks hold, or will when they have loaded."""
        return sum(max(rank.bytes, needed) for rank, needed in self._ranks.items())

    def describe(self, offer: pb.ShardOffer) -> None:
        """Add to what heartbeats tell of this worker's part in other's models."""
        if self._address:
            offer.slice_address = self._address
            offer.slice_bytes = place_for(self._options().backend, self._budget())[1]
            offer.like = self._lead.like

    async def run(self) -> None:
        """Serve until this is cancelled."""
        while True:
            try:
                await self._serve()
            except (SettingsError, TunnelError, OSError) as error:
                log.error("no slices are computed for others", reason=str(error))
            self._address = ""
            self._on_change()
            await asyncio.sleep(PAUSE)

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._hear, "127.0.0.1", 0)
        async with server:
            address = address_of(self._lead.interface)
            inside = server.sockets[0].getsockname()[1]
            listen = format_address((address, free_port(address)))
            front = await Tunnel.accept(listen, inside, self._lead.secret)
            self._address = listen
            self._on_change()
            log.info("computing slices for others", listen=listen, like=self._lead.like)
            try:
                await front.child.ended()
                raise TunnelError(f"stunnel has ended: {front.child.last_words()}")
            finally:
                await front.close()
                for rank in list(self._ranks):
                    await rank.close()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._asking < ASKS:
                self._asking += 1
                try:
                    await self._answer(reader, writer)
                finally:
                    self._asking -= 1
        except (EOFError, OSError, TimeoutError, frames.FrameError) as error:
            log.debug("a leader is gone", reason=str(error))
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonce = secrets.token_bytes(PROOF)
        writer.write(packed(NONCE, nonce))
        async with asyncio.timeout(HURRY):
            kind, content = await frames.read(reader, MAX_ASK)
        shown, content = content[:PROOF], content[PROOF:]
        right = proof(self._lead.secret, nonce, content)
        if kind != ASK or not secrets.compare_digest(shown, right):
            raise frames.FrameError("it does not know the secret")
        ask = frames.decoded(content, Ask)
        try:
            await self._compute(ask, reader, writer)
        except TaskError as error:
            log.warning("no slice for a leader", model=ask.model, reason=error.message)
            _tell(writer, failed(error))
        with contextlib.suppress(OSError):
            await writer.drain()

    async def _compute(
        self, ask: Ask, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Run a rank until it ends, or the leader leaves."""
        gone = asyncio.create_task(_closed(reader))
        with ExitStack() as view:
            async with self._loading:
                begin, needed = await self._begin(ask, view)
                rank = await self._start(begin)
                self._ranks[rank] = needed
            telling = asyncio.create_task(self._pass_on(rank, view, writer))
            try:
                log.info("computing a slice", model=ask.model, rank=ask.place.rank)
                await asyncio.wait({gone, telling}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                reason = rank.ending() if telling.done() else "the leader has left"
                gone.cancel()
                telling.cancel()
                del self._ranks[rank]
                await rank.close()
                self._on_change()
                log.info("a slice is gone", model=ask.model, reason=reason)

    async def _begin(self, ask: Ask, view: ExitStack) -> tuple[Begin, int]:
        """Return what a rank for `ask` begins with, and the bytes that it will need.

        Raises:
            TaskError: if this worker cannot compute it, in words for people.
        """
        options = self._options()
        if ask.like != self._lead.like:
            raise _refused(f"is not like the one that leads: {self._lead.like}; {ask.like}")
        model = await in_thread(lambda: self._find(ask.model))
        if model is None:
            raise _refused(f"does not have {ask.model} on its disk")
        digests = await in_thread(lambda: digests_of(model))
        if (digests.weights, digests.tokenizer) != (ask.weights, ask.tokenizer):
            raise _refused(f"has another {ask.model} than the one that leads")
        parts = await in_thread(
            lambda: division(model.path, options.backend, options.quantization, options.precision)
        )
        if parts is None or parts.most % ask.place.ranks:
            raise _refused(f"cannot divide {ask.model} by {ask.place.ranks}")
        device, room = place_for(options.backend, self._budget())
        needed = parts.of_one(ask.place.ranks)
        if needed > room:
            raise _refused(f"has {room >> 20} MiB for its slice, which needs {needed >> 20} MiB")
        path = await in_thread(lambda: view.enter_context(checked_view(model)))
        begin = Begin(
            path=str(path),
            name=model.name,
            place=ask.place,
            device=device,
            precision=str(slice_dtype(options.backend, options.precision)).removeprefix("torch."),
            room=room,
            slots=options.slots,
            threads=options.threads,
        )
        return begin, needed

    async def _start(self, begin: Begin) -> Rank:
        try:
            return await Rank.start(begin, self._lead.interface)
        except OSError as error:
            raise _refused(f"cannot start a rank: {error}") from None

    async def _pass_on(self, rank: Rank, view: ExitStack, writer: asyncio.StreamWriter) -> None:
        async for kind, content in rank.said():
            if kind == TOLD:
                writer.write(packed(TOLD, content))
                if frames.decoded(content, Told).state == "ready":
                    await in_thread(view.close)
        await rank.child.ended()
        _tell(writer, failed(_refused(f"has lost its slice: {rank.ending()}")))


def failed(error: TaskError) -> Told:
    """Return how `error` is told."""
    return Told(state="failed", code=error.code, message=error.message, remedy=error.remedy)


def _tell(writer: asyncio.StreamWriter, told: Told) -> None:
    writer.write(packed(TOLD, msgspec.json.encode(told)))


async def _closed(reader: asyncio.StreamReader) -> None:
    """Wait until whoever is at the other end has left."""
    while await reader.read(1 << 12):
        pass


def _refused(what: str) -> TaskError:
    return TaskError(pb.WORKER_LOST, what, "another group is formed without it")
