"""Whatever a llama-server answers, what comes of it is an answer or an error of ours."""

import asyncio
import sys
from pathlib import Path

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker import child
from daiic.worker.engines import replies as module
from daiic.worker.engines.interface import EngineDied
from daiic.worker.engines.llama_cpp.llama_server import LlamaServer
from daiic.worker.engines.llama_cpp.program import Options
from daiic.worker.engines.llama_cpp.server import Server

PROGRAM = """#!{python}
import http.server, os, signal, socketserver, sys, time
if "--help" in sys.argv:
    sys.exit()
signal.signal(signal.SIGTERM, signal.SIG_IGN)

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(b"{{}}")
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/die":
            os._exit(7)
        if self.path == "/hang":
            print("hangs", file=sys.stderr, flush=True)
            time.sleep(600)
        self.answer({replies!r}[self.path])
    def answer(self, reply):
        self.send_response(500 if "bad" in self.path else 200)
        self.end_headers()
        self.wfile.write(reply)
    def log_message(self, *ignored):
        pass
    def address_string(self):
        return ""

socketserver.ThreadingUnixStreamServer(
    sys.argv[sys.argv.index("--host") + 1], Handler
).serve_forever()
"""
REPLIES = {
    "/no-json": b"<html>",
    "/deep": b"[" * 100_000,
    "/long": b'"' + b"x" * 5000 + b'"',
    "/bad": b"\xff\xfe",
    "/bad/error": b'{"error": {"code": "x", "message": []}}',
    "/refused/bad": b'{"error": {"code": 400, "message": "no such thing"}}',
    "/events": (
        b'data: {"content": "a\xe2\x80\xa8b"}\n\n: ping\n\n'
        b'data: {"content": "c"}\n\ndata: [DONE]\n\n'
    ),
    "/event-no-json": b"data: {\n\n",
    "/event-no-object": b"data: 7\n\n",
    "/event-error": b'data: {"error": {"code": 400, "message": "too long"}}\n\n',
    "/event-endless": b"data: " + b"x" * 5000,
}


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    program = tmp_path / "llama-server"
    program.write_text(PROGRAM.format(python=sys.executable, replies=REPLIES))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(module, "MAX_REPLY", 1000)
    monkeypatch.setattr(module, "MAX_LINE", 1000)
    model = tmp_path / "m.gguf"
    model.touch()
    started = await Server.start(Options(model, Path(), 8, 1), lambda done: None, LlamaServer())
    yield started
    monkeypatch.setattr(child, "PATIENCE", 0.0)  # it does not end when it is told to
    await started.close()


@pytest.mark.parametrize("path", ["/no-json", "/deep", "/long", "/bad", "/bad/error"])
async def test_a_reply_of_no_use_is_an_internal_error(server: Server, path: str) -> None:
    with pytest.raises(TaskError) as caught:
        await server.post(path, {})
    assert caught.value.code == pb.INTERNAL
    assert server.alive


async def test_what_it_refuses_is_the_senders_to_change(server: Server) -> None:
    with pytest.raises(TaskError, match="no such thing") as caught:
        await server.post("/refused/bad", {})
    assert caught.value.code == pb.BAD_REQUEST


async def test_events_end_at_line_feeds_only(server: Server) -> None:
    events = [event["content"] async for event in server.stream("/events", {})]
    assert events == ["a\N{LINE SEPARATOR}b", "c"]


@pytest.mark.parametrize(
    "path, code",
    [
        ("/event-no-json", pb.INTERNAL),
        ("/event-no-object", pb.INTERNAL),
        ("/event-endless", pb.INTERNAL),
        ("/event-error", pb.BAD_REQUEST),
    ],
)
async def test_an_event_of_no_use_ends_the_answer(
    server: Server, path: str, code: pb.ErrorCode
) -> None:
    with pytest.raises(TaskError) as caught:
        async for _ in server.stream(path, {}):
            pytest.fail("nothing can be made of that")
    assert caught.value.code == code


async def test_its_end_in_the_middle_of_a_request_is_told(server: Server) -> None:
    with pytest.raises(EngineDied, match=r"ended \(7\)"):
        await server.post("/die", {})
    assert not server.alive


async def test_one_that_has_to_be_ended_with_force_did_not_lack_memory(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "PATIENCE", 0.2)
    asked = asyncio.create_task(server.post("/hang", {}))
    while "hangs" not in server._child.said:
        await asyncio.sleep(0.01)
    await server.close()
    with pytest.raises(EngineDied, match="was ended"):
        await asked
