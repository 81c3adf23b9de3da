"""Forms are read as they were sent, and what is no form, or too much of one, is refused."""

import random

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.form import Form
from daiic.gateway.http.upload import Upload
from daiic.gateway.limits import FIELD_BYTES, FORM_PARTS, PART_HEADER_BYTES, PART_HEADERS

TYPE = "multipart/form-data; boundary=b"


class Wanted(msgspec.Struct, kw_only=True):
    """What the tests decode forms as."""

    prompt: str | None = None
    n: int | None = None
    strength: float | None = None
    stream: bool | None = None
    words: list[str] | None = None
    image: list[Upload] | None = None
    mask: Upload | None = None


def read(content: bytes, content_type: str = TYPE, pieces: int = 1) -> Wanted:
    form = Form(content_type)
    size = -(-len(content) // pieces) or 1
    for start in range(0, len(content), size):
        form.feed(content[start : start + size])
    return form.decode(Wanted)


def refusal(content: bytes, content_type: str = TYPE) -> ApiError:
    with pytest.raises(ApiError) as refused:
        read(content, content_type)
    assert refused.value.status == 400
    return refused.value


def part(field: str, content: bytes = b"x", *more: str) -> bytes:
    headers = [f'Content-Disposition: form-data; name="{field}"', *more]
    return b"--b\r\n" + "\r\n".join(headers).encode() + b"\r\n\r\n" + content + b"\r\n"


def whole(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


@pytest.mark.parametrize("pieces", [1, 2, 7, 10_000])
def test_texts_become_what_the_fields_are_and_files_keep_every_byte(pieces: int) -> None:
    data = bytes(range(256)) * 9 + b"\r\n--b\r\n--" + b"\r\n" * 99
    request = httpx.Request(
        "POST",
        "http://localhost",
        data={
            "prompt": "ein Käse",
            "n": "3",
            "strength": "0.5",
            "stream": "true",
            "words[]": ["a", "b"],
            "unknown": "y",
        },
        files=[("image[]", ("ü.png", data, "image/png")), ("mask", ("m", b"", ""))],
    )
    wanted = read(request.read(), request.headers["content-type"], pieces)
    assert (wanted.prompt, wanted.n, wanted.strength) == ("ein Käse", 3, 0.5)
    assert wanted.stream is True and wanted.words == ["a", "b"]
    (image,) = wanted.image
    assert (image.data, image.name, image.type) == (data, "ü.png", "image/png")
    assert (wanted.mask.data, wanted.mask.name) == (b"", "m")


def test_a_list_may_be_sent_with_and_without_brackets() -> None:
    assert read(whole(part("words"))).words == ["x"]
    assert read(whole(part("words"), part("words[]", b"y"))).words == ["x", "y"]


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([part("n", b"many")], "n"),
        ([part("n", b"9" * 5000)], "n"),
        ([part("strength", b"nan")], "strength"),
        ([part("strength", b"1e999")], "strength"),
        ([part("stream", b"maybe")], "stream"),
        ([part("prompt"), part("prompt")], "prompt"),
        ([part("mask")], "mask"),
        ([part("prompt", b"\xff")], "prompt"),
        ([part('prompt"; filename="a')], "prompt"),
        ([part("prompt", b"x" * (FIELD_BYTES + 1))], "prompt"),
        ([part("prompt", b"eA==", "Content-Transfer-Encoding: base64")], "prompt"),
    ],
)
def test_a_wrong_field_is_named(parts: list[bytes], param: str) -> None:
    error = refusal(whole(*parts))
    assert error.param == param and error.message.startswith(param)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"--b",
        b"--b\r\n",
        b"not a form at all",
        part("prompt"),
        whole(b"--b\r\n\r\nx\r\n"),
        whole(b"--b\r\nContent-Disposition: attachment; name=prompt\r\n\r\nx\r\n"),
        whole(b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n"),
        whole(b"--b\r\n: no name\r\n\r\nx\r\n"),
        whole(b"--b\r\nno colon\r\n\r\nx\r\n"),
        whole(part("prompt", b"x", "X: " + "y" * PART_HEADER_BYTES)),
        whole(part("prompt", b"x", *(f"X{n}: y" for n in range(PART_HEADERS)))),
        whole(*(part(f"f{n}") for n in range(1000))),
    ],
)
def test_what_is_no_form_within_bounds_is_refused(content: bytes) -> None:
    assert refusal(content).code == "invalid_form"


def test_a_text_in_place_of_a_file_is_told_how_to_be_one() -> None:
    for field in ("image", "mask"):
        assert "with a file name" in refusal(whole(part(field))).message


def test_as_many_parts_as_are_allowed_are_read() -> None:
    assert len(read(whole(*[part("words")] * FORM_PARTS)).words) == FORM_PARTS


@pytest.mark.parametrize("boundary", ["", "; boundary=", f"; boundary={'b' * 5000}"])
def test_a_boundary_is_needed(boundary: str) -> None:
    assert refusal(whole(part("prompt")), f"multipart/form-data{boundary}").code == "invalid_form"


@given(st.binary(), st.integers(1, 40))
def test_no_bytes_break_the_reader(data: bytes, pieces: int) -> None:
    for content in (data, b"--b\r\n" + data, part("prompt", data), whole(part("mask", data))):
        try:
            read(content, pieces=pieces)
        except ApiError as error:
            assert error.status == 400


@given(st.integers())
def test_nor_do_changed_forms(seed: int) -> None:
    rnd = random.Random(seed)
    form = bytearray(whole(part("prompt"), part("image[]; filename=x", b"\r\n--b", "A: b")))
    for _ in range(3):
        form[rnd.randrange(len(form))] = rnd.choice(b'\r\n-b:; "=\\\0\xff')
    try:
        read(bytes(form), pieces=rnd.randrange(1, 9))
    except ApiError as error:
        assert error.status == 400
