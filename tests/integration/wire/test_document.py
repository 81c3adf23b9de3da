"""The example of docs/cluster.md, run as it stands against a socket that answers like a head."""

import asyncio
import json
import sys
from pathlib import Path

from daiic.wire.events import Event, Message
from daiic.wire.messages import MessageType
from daiic.wire.udp import MeshSocket
from support.links.lossy_relay import Conditions, LossyRelay

DOCUMENT = Path(__file__).parents[3] / "docs" / "cluster.md"
DEFAULT = '("127.0.0.1", 7717)'


async def answer(result: dict[str, object], conditions: Conditions) -> tuple[str, list[Message]]:
    """Run the example across a link; return what it prints and the tasks that arrived."""
    tasks: list[Message] = []

    def on_events(events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, Message):
                continue
            tasks.append(event)
            head.send(event.peer, MessageType.RESULT, json.dumps(result).encode())

    head = await MeshSocket.open("127.0.0.1:0", on_events=on_events, validate_addresses=True)
    async with await LossyRelay.start(head.local_address, conditions, seed=2) as relay:
        code = DOCUMENT.read_text("utf-8").split("```python\n")[1].split("```")[0]
        assert DEFAULT in code
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            code.replace(DEFAULT, repr(relay.address)),
            stdout=asyncio.subprocess.PIPE,
        )
        printed, _ = await asyncio.wait_for(process.communicate(), 20)
    await head.close(drain=0)
    return printed.decode(), tasks


async def test_the_example_prints_the_answer() -> None:
    printed, (task,) = await answer({"id": "1", "final": True, "text": "there was"}, Conditions())
    assert printed == "there was\n"
    assert json.loads(task.payload)["text"]["prompt"] == "Once upon a time"


async def test_the_example_prints_errors() -> None:
    error = {"code": "NO_WORKER", "message": "no worker takes tasks now"}
    printed, _ = await answer({"id": "1", "final": True, "error": error}, Conditions())
    assert printed == "no worker takes tasks now\n"


async def test_the_example_shows_that_it_receives_so_a_long_answer_comes_too() -> None:
    printed, _ = await answer({"final": True, "text": "long " * 200}, Conditions())
    assert printed == "long " * 200 + "\n"


async def test_the_example_gets_its_answer_over_a_bad_link_and_asks_once() -> None:
    printed, tasks = await answer({"final": True, "text": "at last"}, Conditions(loss=0.4))
    assert printed == "at last\n"
    assert len(tasks) == 1
