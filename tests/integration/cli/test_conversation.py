"""`daiic chat` at a terminal: Ctrl-C stops an answer, not the conversation."""

import asyncio
import os
import pty
import sys
from pathlib import Path

from support.peers.scripted_head import ScriptedHead
from support.peers.tool_caller import thinks_says_calls
from support.peers.worker_stub import WorkerStub
from support.processes.gateway_process import gateway_process
from support.processes.head_process import HeadProcess
from support.processes.heads import Head


class Terminal:
    """`daiic` on a terminal of its own."""

    def __init__(self, *arguments: str) -> None:
        program = str(Path(sys.executable).with_name("daiic"))
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execv(program, ["daiic", *arguments])
        os.set_blocking(self._terminal, False)
        self._seen = b""

    def type(self, keys: str) -> None:
        """Press keys; what was seen before counts no more."""
        self._seen = b""
        os.write(self._terminal, keys.encode())

    async def shows(self, text: str) -> None:
        """Wait until `text` is on the screen."""
        async with asyncio.timeout(20):
            while text.encode() not in self._seen:
                try:
                    self._seen += os.read(self._terminal, 4096)
                except BlockingIOError:
                    await asyncio.sleep(0.02)


async def test_ctrl_c_stops_the_answer_and_its_task_and_the_talk_goes_on(each_head: Head) -> None:
    async with HeadProcess() as head:
        stub = await WorkerStub.open([head.address])
        await head.wait_for_workers(1)
        terminal = Terminal("chat", "--model=count", "--max-tokens=500", f"--head={head.address}")
        await terminal.shows("> ")
        for turn in (1, 2):
            terminal.type("count, please\n")
            await terminal.shows("5 6 7")
            terminal.type("\x03")
            await terminal.shows("(stopped)")
            async with asyncio.timeout(5):
                while len(stub.cancelled) < turn:
                    await asyncio.sleep(0.02)
        terminal.type("/exit\n")
        _, status = await asyncio.to_thread(os.waitpid, terminal.pid, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        await stub.close()


async def test_what_the_model_thinks_is_dimmed_and_no_part_of_the_answer() -> None:
    async with (
        ScriptedHead(thinks_says_calls) as head,
        gateway_process(f"--heads={head.address}") as gateway,
    ):
        await gateway.ready()
        where = ("--model=stub-chat", f"--url={gateway.url}")
        terminal = Terminal("chat", "hello", *where)
        await terminal.shows("\x1b[2mlet me")
        await terminal.shows("Asking")
        await asyncio.to_thread(os.waitpid, terminal.pid, 0)
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("daiic"),
            *("chat", "hello", *where),
            stdout=asyncio.subprocess.PIPE,
        )
        said, _ = await process.communicate()
        assert said.decode() == "Asking now.\n"
