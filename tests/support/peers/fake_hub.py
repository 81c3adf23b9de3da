"""A Hugging Face hub of a few repositories on loopback, for the real client library.

It answers what `huggingface_hub` asks when it downloads: the repository's
description, its tree, and its files, which only holders of `TOKEN` get of
gated repositories.
"""

import hashlib
import json
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

TOKEN = "hf_TheTokenThatOpensGatedModels"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PIECE = 1 << 14


@dataclass
class Repository:
    """`files` by name; `pause` are seconds between pieces of weights."""

    files: dict[str, bytes]
    gated: bool = False
    pause: float = 0.0
    status: int = 200


@dataclass
class FakeHub:
    """Serves `repositories` at `endpoint` until `close`; `requested` are the files asked for."""

    repositories: dict[str, Repository]
    requested: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        hub = self

        class Handler(_Handler):
            pass

        Handler.hub = hub
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def folder(path: Path) -> dict[str, bytes]:
    """Return all files below `path`."""
    return {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, with_body: bool) -> None:
        parts = urlsplit(self.path).path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            name, rest = "/".join(parts[2:4]), parts[4:]
        else:
            name, rest = "/".join(parts[:2]), parts[2:]
        repository = self.hub.repositories.get(name)
        if repository is None:
            self._fail(404, "RepoNotFound")
        elif repository.status != 200:
            self._fail(repository.status, "")
        elif parts[0] == "api" and rest[:1] != ["tree"]:
            self._json(self._description(name, repository))
        elif repository.gated and self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._fail(403, "GatedRepo")
        elif parts[0] == "api":
            self._json([_entry(*item) for item in repository.files.items()])
        else:
            self._file(repository, "/".join(rest[2:]), with_body)

    def _description(self, name: str, repository: Repository) -> dict[str, object]:
        siblings = [
            {
                "rfilename": file,
                "size": len(content),
                "blobId": _sha1(content),
                **_lfs(file, content),
            }
            for file, content in repository.files.items()
        ]
        gated = "manual" if repository.gated else False
        return {"id": name, "sha": COMMIT, "private": False, "gated": gated, "siblings": siblings}

    def _file(self, repository: Repository, file: str, with_body: bool) -> None:
        content = repository.files.get(file)
        if content is None:
            self._fail(404, "EntryNotFound")
            return
        if with_body:
            self.hub.requested.append(file)
        etag = hashlib.sha256(content).hexdigest() if _lfs(file, content) else _sha1(content)
        self.send_response(200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not with_body:
            return
        for start in range(0, len(content), PIECE):
            self.wfile.write(content[start : start + PIECE])
            if file.endswith(".safetensors"):
                time.sleep(repository.pause)

    def _json(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _lfs(file: str, content: bytes) -> dict[str, object]:
    if not file.endswith((".safetensors", ".bin")):
        return {}
    sha256 = hashlib.sha256(content).hexdigest()
    return {"lfs": {"sha256": sha256, "oid": sha256, "size": len(content), "pointerSize": 130}}


def _entry(file: str, content: bytes) -> dict[str, object]:
    return {
        "type": "file",
        "path": file,
        "size": len(content),
        "oid": _sha1(content),
        **_lfs(file, content),
    }


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
