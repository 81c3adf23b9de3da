"""A stand-in for `vllm serve`: its command line, its completions and its processes, no model.

Options, fields and answers are as vLLM 0.19 and 0.32 define them, as far as the engine uses them;
what it does not know it refuses, so that a slip of the engine shows. Its tokens follow from those
before them alone; with a temperature from the seed and the number made for the request, too.
"""

import argparse
import hashlib
import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

FIELDS = frozenset(
    ("prompt", "max_tokens", "stream", "stream_options", "temperature", "top_p", "top_k", "min_p")
) | {
    *("seed", "stop_token_ids", "return_token_ids", "logprobs", "return_tokens_as_token_ids"),
    *("repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias"),
    "structured_outputs",
}
CONSTRAINTS = {"json", "json_object", "regex", "grammar"}
KEPT_TO = range(100, 106)
"""The tokens of an answer that has to keep to something."""
FIRST = 50
"""Tokens below it are special, or bytes."""
ENDS = 40
"""One token in so many ends a text."""
SHORT = 20
"""Every text has more tokens than that."""


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="vllm", allow_abbrev=False)
    serve = parser.add_subparsers(required=True).add_parser("serve", allow_abbrev=False)
    serve.add_argument("model_tag", type=Path)
    for name in ("uds", "load-format", "dtype", "generation-config", "uvicorn-log-level"):
        serve.add_argument(f"--{name}")
    for name in ("max-model-len", "max-num-seqs", "max-logprobs", "kv-cache-memory-bytes"):
        serve.add_argument(f"--{name}", type=int)
    for name in ("tensor-parallel-size", "pipeline-parallel-size"):
        serve.add_argument(f"--{name}", type=int, default=1)
    serve.add_argument("--distributed-executor-backend", choices=("mp", "ray", "uni"))
    serve.add_argument("--structured-outputs-config", type=json.loads)
    for name in (
        *("enable-prompt-tokens-details", "disable-uvicorn-access-log", "disable-fastapi-docs"),
        *("enforce-eager", "disable-log-stats"),
    ):
        serve.add_argument(f"--{name}", action="store_true")
    return parser.parse_args()


class Refused(Exception):
    pass


class Model:
    def __init__(self, asked: argparse.Namespace) -> None:
        config = json.loads((asked.model_tag / "config.json").read_text())
        if "refuse" in config:
            sys.exit(f"(EngineCore pid=7) ERROR [core.py:1] ValueError: {config['refuse']}")
        self.vocabulary = config["vocab_size"]
        self.context = asked.max_model_len
        self.seen: list[list[int]] = []

    def check(self, body: dict[str, Any]) -> None:
        unknown = body.keys() - FIELDS
        if unknown:
            raise Refused(f"no such fields: {sorted(unknown)}")
        if any(token >= self.vocabulary for token in body["prompt"]):
            raise Refused(f"Token id {max(body['prompt'])} is out of vocabulary")
        if len(body["prompt"]) + body["max_tokens"] > self.context:
            raise Refused("This model's maximum context length is exceeded")
        if body["max_tokens"] < 1 or body["temperature"] < 0:
            raise Refused("max_tokens must be at least 1")
        if not -(1 << 63) <= body.get("seed", 0) < 1 << 63:
            raise Refused("Input should be less than or equal to 9223372036854775807")
        kept = body.get("structured_outputs", {})
        if kept.keys() - CONSTRAINTS or len(kept) > 1:
            raise Refused("You can only use one kind of structured outputs constraint")
        try:
            re.compile(kept.get("regex", ""))
        except re.error as error:
            raise Refused(f"Grammar error: {error}") from None

    def next_token(self, body: dict[str, Any], made: list[int]) -> int:
        end = body["stop_token_ids"][0] if body["stop_token_ids"] else None
        if "structured_outputs" in body:
            return KEPT_TO[len(made)] if len(made) < len(KEPT_TO) else end
        told = [*body["prompt"], *made][-3:]
        if body["temperature"]:
            told += [body.get("seed", time.monotonic_ns()), len(made)]
        drawn = int.from_bytes(hashlib.sha256(repr(told).encode()).digest()[:4])
        if end is not None and len(made) > SHORT and drawn % ENDS == 0:
            return end
        token = FIRST + drawn % (self.vocabulary - FIRST)
        while body.get("frequency_penalty") and token in made:
            token = FIRST + (token + 1 - FIRST) % (self.vocabulary - FIRST)
        return token

    def cached(self, prompt: list[int]) -> int:
        common = [
            next((n for n, (a, b) in enumerate(zip(one, prompt, strict=False)) if a != b), len(one))
            for one in self.seen
        ]
        self.seen.append(prompt)
        return min(max(common, default=0), len(prompt) - 1)


DEAD = {"message": "EngineCore encountered an issue.", "type": "InternalServerError", "code": 500}


class Handler(BaseHTTPRequestHandler):
    model: Model
    core: "subprocess.Popen[bytes]"

    def do_GET(self) -> None:
        alive = 200 if self.core.poll() is None else 503
        self.send_response(alive if self.path == "/health" else 404)
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            if self.path != "/v1/completions" or not body.get("stream"):
                raise Refused("Not Found")
            self.model.check(body)
        except Refused as refused:
            self.send_response(400)
            self.end_headers()
            error = {"message": str(refused), "type": "BadRequestError", "param": None, "code": 400}
            self.wfile.write(json.dumps({"error": error}).encode())
            return
        self.send_response(200)
        self.end_headers()
        cached = self.model.cached(body["prompt"])
        made: list[int] = []
        reason = None
        while reason is None:
            if self.core.poll() is not None:
                self.send({"error": DEAD})
                return
            token = self.model.next_token(body, made)
            made.append(token)
            if token in body["stop_token_ids"]:
                reason = "stop"
            elif len(made) == body["max_tokens"]:
                reason = "length"
            choice = {"index": 0, "text": "?", "finish_reason": reason, "token_ids": [token]}
            if "logprobs" in body:
                others = {f"token_id:{FIRST + n}": -2.0 - n for n in range(body["logprobs"])}
                choice["logprobs"] = {
                    "token_logprobs": [-0.5],
                    "top_logprobs": [{f"token_id:{token}": -0.5, **others}],
                }
            self.send({"choices": [choice]})
            time.sleep(0.002)
        usage = {"prompt_tokens_details": {"cached_tokens": cached} if cached else None}
        self.send({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def send(self, event: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")

    def log_message(self, *_: object) -> None:
        pass

    def address_string(self) -> str:
        return ""


def main() -> None:
    if sys.argv[1:] == ["EngineCore"]:
        time.sleep(3600)
    asked = options()
    Handler.model = Model(asked)
    core = Handler.core = subprocess.Popen([sys.executable, __file__, "EngineCore"])
    told = {"arguments": sys.argv[1:], "environment": dict(os.environ), "core": core.pid}
    asked.model_tag.with_suffix(".started").write_text(json.dumps(told))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    socketserver.ThreadingUnixStreamServer.daemon_threads = True
    socketserver.ThreadingUnixStreamServer(asked.uds, Handler).serve_forever()


if __name__ == "__main__":
    main()
