"""What llama-server says of itself, when it is asked on its command line."""

import asyncio
import contextlib

from daiic.tether import tethered
from daiic.worker.child import environment


async def said_by(*command: str, most: int, patience: float) -> str:
    """Return the first `most` bytes that `command` writes; it is ended then.

    Raises:
        TimeoutError: if that takes more than `patience` seconds.
        OSError: if no process can be started.
    """
    process = await asyncio.create_subprocess_exec(
        *tethered(*command),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(),
    )
    assert process.stdout is not None
    said = bytearray()
    try:
        async with asyncio.timeout(patience):
            while len(said) < most and (more := await process.stdout.read(most - len(said))):
                said += more
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return said.decode("utf-8", "replace")
