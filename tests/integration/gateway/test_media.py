"""Images reach a worker through the real `openai` client; those that are fetched, within bounds."""

import asyncio
import base64
import datetime
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

import anthropic
import ollama
import openai
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from daiic.gateway.media import fetch as fetching
from daiic.gateway.media import hosts
from daiic.gateway.media.fetch import NotFetched, fetch
from daiic.gateway.media.hosts import NotAllowed
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import PNG, ScriptedHead

JPEG = b"\xff\xd8\xff\xe0" + bytes(64)

Answer = tuple[int, Mapping[str, str], bytes]


class FileServer:
    """An HTTP server of files; `heads` are the headers of the requests that came."""

    def __init__(self) -> None:
        self.files: dict[str, Answer] = {"/a.png": (200, {"Content-Type": "image/png"}, PNG)}
        self.heads: list[list[str]] = []
        self.stalls = False
        self.address = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.heads.append(head)
        status, headers, body = self.files.get(head[0].split(" ")[1], (404, {}, b""))
        lines = [f"HTTP/1.1 {status} x", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
        try:
            if self.stalls:
                await asyncio.sleep(60)
            writer.write(body)
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


@asynccontextmanager
async def file_server(context: ssl.SSLContext | None = None) -> AsyncIterator[FileServer]:
    files = FileServer()
    server = await asyncio.start_server(files.serve, "127.0.0.1", 0, ssl=context)
    files.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield files


@pytest.fixture
async def files() -> AsyncIterator[FileServer]:
    async with file_server() as files:
        yield files


Start = Callable[..., Awaitable[object]]


def shown(*urls: str) -> list[dict[str, object]]:
    parts: list[dict[str, object]] = [
        {"type": "image_url", "image_url": {"url": url, "detail": "low"}} for url in urls
    ]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": "What is it?"}]}]


async def test_images_come_with_the_conversation(
    start_gateway: Start, head: ScriptedHead, files: FileServer
) -> None:
    gateway = await start_gateway(f"--allowed-media-hosts={files.address}")
    data = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    files.files["/b.jpg"] = (200, {"Content-Length": str(len(JPEG))}, JPEG)
    await gateway.openai.chat.completions.create(
        model="stub-chat", messages=shown(data, f"http://{files.address}/b.jpg")
    )
    (message,) = head.tasks[0].text.messages
    first, second, text = message.parts
    assert (first.image.data, first.image.type) == (PNG, "image/png")
    assert (second.image.data, second.image.type) == (JPEG, "image/jpeg")
    assert text.text == "What is it?" and not message.content
    (asked,) = files.heads
    assert f"Host: {files.address}" in asked
    assert not any(line.lower().startswith(("cookie", "authorization")) for line in asked)


async def test_the_other_apis_show_images_too(
    start_gateway: Start, head: ScriptedHead, files: FileServer
) -> None:
    gateway = await start_gateway(f"--allowed-media-hosts={files.address}")
    encoded = base64.b64encode(PNG).decode()
    url = f"http://{files.address}/a.png"
    inline = {"type": "base64", "media_type": "image/png", "data": encoded}
    async with anthropic.AsyncAnthropic(base_url=gateway.url, api_key="none") as client:
        await client.messages.create(
            model="stub-chat",
            max_tokens=8,
            messages=[
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": inline},
                        {"type": "image", "source": {"type": "url", "url": url}},
                        {"type": "text", "text": "?"},
                    ],
                }
            ],
        )
    said = {"role": "user", "content": "?", "images": [encoded, encoded]}
    await ollama.AsyncClient(host=gateway.url).chat("stub-chat", messages=[said])
    await ollama.AsyncClient(host=gateway.url).generate(
        "stub-chat", prompt="?", images=[encoded, encoded]
    )
    await gateway.openai.responses.create(
        model="stub-chat",
        input=[
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "image_url": url, "detail": "auto"},
                    {"type": "input_image", "image_url": f"data:image/png;base64,{encoded}"},
                    {"type": "input_text", "text": "?"},
                ],
            }
        ],
    )
    assert len(head.tasks) == 4
    for task in head.tasks:
        *images, text = task.text.messages[0].parts
        assert [part.image for part in images] == [pb.Media(data=PNG, type="image/png")] * 2
        assert text.text == "?"


async def test_what_is_not_allowed_is_refused_with_what_to_do(
    start_gateway: Start, files: FileServer
) -> None:
    gateway = await start_gateway()
    with pytest.raises(openai.BadRequestError, match="allowed_media_hosts") as refused:
        await gateway.openai.chat.completions.create(
            model="stub-chat", messages=shown(f"http://{files.address}/a.png")
        )
    assert refused.value.code == "media_not_allowed"
    assert refused.value.param == "messages[0].content[0].image_url"
    assert not files.heads


async def test_an_image_of_ten_mebibytes_reaches_the_head_whole(
    start_gateway: Start, head: ScriptedHead
) -> None:
    gateway = await start_gateway()
    large = PNG + bytes(10 << 20)
    url = f"data:image/png;base64,{base64.b64encode(large).decode()}"
    await gateway.openai.chat.completions.create(model="stub-chat", messages=shown(url))
    assert head.tasks[0].text.messages[0].parts[0].image.data == large


def ignored(piece: bytes) -> None:
    pass


async def test_redirects_are_followed_to_allowed_hosts_only(files: FileServer) -> None:
    files.files["/once"] = (302, {"Location": "/a.png"}, b"")
    async with file_server() as other:
        files.files["/away"] = (307, {"Location": f"http://{other.address}/a.png"}, b"")
        files.files["/file"] = (301, {"Location": "file:///etc/passwd"}, b"")
        for number in range(5):
            files.files[f"/{number}"] = (302, {"Location": f"/{number + 1}"}, b"")
        root = f"http://{files.address}"
        assert await fetch(f"{root}/once", [files.address], ignored) == PNG
        assert await fetch(f"{root}/away", [files.address, other.address], ignored) == PNG
        before = len(other.heads)
        for path in ("away", "file"):
            with pytest.raises(NotAllowed):
                await fetch(f"{root}/{path}", [files.address], ignored)
        assert len(other.heads) == before
        with pytest.raises(NotFetched, match="redirected more than 3 times"):
            await fetch(f"{root}/0", [files.address], ignored)


async def test_a_file_is_fetched_within_bounds(
    files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "MEDIA_BYTES", 1000)
    monkeypatch.setattr(fetching, "FETCH_PATIENCE", 2.0)
    files.files["/large"] = (200, {}, bytes(100_000))
    files.files["/packed"] = (200, {"Content-Encoding": "gzip"}, bytes(10))
    root = f"http://{files.address}"
    for path, why in (("large", "larger"), ("packed", "compressed"), ("none", "answers 404")):
        with pytest.raises(NotFetched, match=why):
            await fetch(f"{root}/{path}", [files.address], ignored)
    files.stalls = True
    with pytest.raises(NotFetched, match="within 2 s"):
        await fetch(f"{root}/a.png", [files.address], ignored)


async def test_proxies_of_the_environment_are_not_asked(
    files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert await fetch(f"http://{files.address}/a.png", [files.address], ignored) == PNG


async def test_what_a_name_means_later_does_not_matter(
    files: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = "images.example", files.address.partition(":")[2]
    answers = iter(["127.0.0.1", "127.0.0.2"])
    real = socket.getaddrinfo

    def rebinding(name: str, *rest: object, **more: object) -> list[tuple[object, ...]]:
        if name != host:
            return real(name, *rest, **more)  # type: ignore[arg-type,return-value]
        return [(0, 0, 0, "", (next(answers), 0))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    with pytest.raises(NotAllowed, match="not public"):
        await fetch(f"http://{host}:{port}/a.png", [f"{host}:{port}"], ignored)
    assert not files.heads
    answers = iter(["127.0.0.1"])  # a second look-up would fail
    monkeypatch.setattr(hosts, "is_public", lambda address: True)
    assert await fetch(f"http://{host}:{port}/a.png", [f"{host}:{port}"], ignored) == PNG
    assert f"Host: {host}:{port}" in files.heads[0]


async def test_a_certificate_must_be_the_names(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("certificate")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "images.example")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now.replace(year=now.year + 1))
        .sign(key, hashes.SHA256())
    )
    (folder / "key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    (folder / "certificate").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "certificate", folder / "key")
    called: list[str | None] = []
    context.sni_callback = lambda connection, said, own: called.append(said)
    monkeypatch.setattr(hosts, "is_public", lambda address: True)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", ("127.0.0.1", 0))])
    async with file_server(context) as files:
        address = f"images.example:{files.address.partition(':')[2]}"
        with pytest.raises(NotFetched, match="ConnectError"):
            await fetch(f"https://{address}/a.png", [address], ignored)
    assert called == ["images.example"]
    assert not files.heads
