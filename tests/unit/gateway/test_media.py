"""What a conversation shows is checked; no URL leads to an address that is not public."""

import base64
import socket

import pytest

from daiic.gateway.http.errors import ApiError
from daiic.gateway.media.hosts import NotAllowed, is_public, source_of
from daiic.gateway.media.reader import MediaReader

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)
NAMED = ("images.example", "10.0.0.5:8080", "[fd00::5]")


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    """Let every name have these addresses; return the names that are looked up."""
    asked: list[str] = []

    def look_up(host: str, port: int, **_: object) -> list[tuple[object, ...]]:
        asked.append(host)
        return [(0, 0, 0, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@pytest.mark.parametrize(
    ("address", "public"),
    [
        *((address, True) for address in ("1.1.1.1", "93.184.215.14", "2606:4700:4700::1111")),
        *(
            (address, False)
            for address in (
                "127.0.0.1",
                "10.1.2.3",
                "172.16.0.1",
                "192.168.1.1",
                "169.254.169.254",
                "100.64.0.1",
                "0.0.0.0",
                "224.0.0.1",
                "233.252.0.1",
                "240.0.0.1",
                "255.255.255.255",
                "::",
                "::1",
                "::ffff:127.0.0.1",
                "::ffff:10.0.0.1",
                "fe80::1",
                "fe80::1%eth0",
                "fc00::1",
                "ff02::1",
                "2002:7f00:1::",
                "64:ff9b::7f00:1",
                "2001:0:7f00:1::",
                "2001:db8::1",
            )
        ),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


async def test_a_named_host_is_resolved_once_and_called_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = resolving(monkeypatch, "2606:4700:4700::1111", "1.1.1.1")
    source = await source_of("https://Images.Example./a/b.png?c=d#e", NAMED)
    assert asked == ["images.example"]
    assert source.url_of_address == "https://1.1.1.1:443/a/b.png?c=d"
    assert (source.host, source.authority) == ("images.example", "images.example")


@pytest.mark.parametrize("inside", ["127.0.0.1", "10.0.0.5", "::1", "::ffff:192.168.0.1"])
async def test_a_name_that_has_an_inner_address_too_is_refused(
    inside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolving(monkeypatch, "1.1.1.1", inside)
    with pytest.raises(NotAllowed, match="not public"):
        await source_of("https://images.example/a.png", NAMED)


async def test_an_address_of_ones_own_network_is_reached_if_it_is_named_itself() -> None:
    source = await source_of("http://10.0.0.5:8080/a.png", NAMED)
    assert source.url_of_address == "http://10.0.0.5:8080/a.png"
    assert (await source_of("http://[fd00::5]/a.png", NAMED)).authority == "[fd00::5]"


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/a.png",
        "https://images.example.evil.example/a.png",
        "https://images.example:8443/a.png",
        "http://10.0.0.5/a.png",
        "http://10.0.0.6:8080/a.png",
        "http://127.0.0.1/a.png",
        "http://2130706433/a.png",
        "http://0x7f.1/a.png",
        "http://[::ffff:10.0.0.5]:8080/a.png",
        "http://user:secret@images.example/a.png",
        "http://images.example@127.0.0.1/a.png",
        "http://127.0.0.1\\@images.example/a.png",
        "http://images.example\r\nX: y/a.png",
        "http://images.example /a.png",
        "http://ımages.example/a.png",
        "http://images.example:99999/a.png",
        "http:///a.png",
        "//images.example/a.png",
        "file:///etc/passwd",
        "gopher://images.example/",
        "ftp://images.example/a.png",
        "",
        "x",
        "http://[",
        "https://images.example/" + "a" * 3000,
    ],
)
async def test_what_is_not_named_is_not_even_looked_up(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, "1.1.1.1")
    with pytest.raises(NotAllowed):
        await source_of(url, NAMED)
    assert not asked


async def test_a_redirect_is_read_as_a_browser_does() -> None:
    source = await source_of("http://10.0.0.5:8080/a/b.png", NAMED)
    assert source.redirect("/c.png") == "http://10.0.0.5:8080/c.png"
    assert source.redirect("//other.example/c") == "http://other.example/c"


def reader(*allowed: str) -> MediaReader:
    return MediaReader(allowed, lambda piece: None)


def encoded(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0" + bytes(8), "image/jpeg"),
        (b"RIFF\x10\x00\x00\x00WEBPVP8 ", "image/webp"),
    ],
)
async def test_an_image_is_what_its_bytes_say(data: bytes, kind: str) -> None:
    for called in (kind, "image/gif", "application/octet-stream", "image/png;name=a.png"):
        media = await reader().image(encoded(data, called), "url")
        assert (media.data, media.type) == (data, kind)
    assert reader().image_in(base64.b64encode(data).decode(), "images[0]").type == kind


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:image/png",
        "data:image/png,abc",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png;base64,%%%%",
        "data:image/png;base64,iVBORw0KGgo",
        "data:image/png;base64,iVBO\nRw0KGgo=",
        "data:image/png;base64,ü",
        encoded(b"GIF89a"),
        encoded(b"<svg/>", "image/svg+xml"),
        "data:" + "a" * 300 + ";base64," + base64.b64encode(PNG).decode(),
    ],
)
async def test_a_data_url_without_an_image_is_refused_by_name(url: str) -> None:
    with pytest.raises(ApiError) as refused:
        await reader().image(url, "messages[0].content[1].image_url")
    assert (refused.value.status, refused.value.param) == (400, "messages[0].content[1].image_url")


async def test_images_and_recordings_are_counted_together() -> None:
    media = reader()
    for _ in range(8):
        await media.image(encoded(PNG), "url")
        assert media.audio_in("AAAA", "wav", "audio").type == "audio/wav"
    with pytest.raises(ApiError, match="at most 16"):
        await media.image(encoded(PNG), "url")


@pytest.mark.parametrize(("text", "kind"), [("AAAA", "exe"), ("", "wav"), ("?", "mp3")])
def test_what_is_no_recording_is_refused(text: str, kind: str) -> None:
    with pytest.raises(ApiError) as refused:
        reader().audio_in(text, kind, "input_audio")
    assert refused.value.status == 400 and "input_audio" in str(refused.value.param)
