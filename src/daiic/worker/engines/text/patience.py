"""How long a constraint may take for one token: some grammars have no end of ways to go on."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb

Parts = AsyncGenerator[pb.Result, None]


async def patiently(parts: Parts, seconds: float | None) -> Parts:
    """Yield `parts` of an answer that keeps to a constraint, each within so many seconds.

    Raises:
        TaskError: BAD_REQUEST if one takes longer.
    """
    async with contextlib.aclosing(parts):
        while True:
            try:
                async with asyncio.timeout(seconds):
                    part = await anext(parts)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise TaskError(
                    pb.BAD_REQUEST,
                    f"the `constraint` is too complex: one token took {seconds:g} s",
                    "use fewer and smaller repetitions in it",
                ) from None
            yield part
