"""multipart/form-data (RFC 7578): taken apart while it arrives, within bounds."""

import logging
import math
from typing import Any, TypeVar

import msgspec
from msgspec import inspect
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from daiic.gateway.http.errors import ApiError
from daiic.gateway.http.request_body import wrong_field
from daiic.gateway.http.upload import Upload
from daiic.gateway.limits import FIELD_BYTES, FORM_PARTS, PART_HEADER_BYTES, PART_HEADERS
from daiic.shown import shown

WANTED = f"Expected `{Upload.__name__}`"
"""How msgspec begins to say that a field is no file."""
NAME = 64
"""Characters of a field's name that an error quotes."""

# It warns of every form that is malformed; whoever sent one is told.
logging.getLogger("python_multipart").setLevel(logging.ERROR)

Decoded = TypeVar("Decoded")


class Form:
    """Collects the parts of one form; `feed` takes its bytes as they come."""

    def __init__(self, content_type: str) -> None:
        """Begin a form that a request with this header announces.

        Raises:
            ApiError: 400 if the header names no boundary that can be used.
        """
        boundary = parse_options_header(content_type)[1].get(b"boundary")
        if not boundary:
            raise _malformed("its Content-Type names no boundary")
        self._parts: list[_Part] = []
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_name,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
                max_header_count=PART_HEADERS,
                max_header_size=PART_HEADER_BYTES,
            )
        except FormParserError as error:
            raise _malformed(str(error)) from None

    def feed(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            ApiError: 400 if they are no form, or one beyond the bounds.
        """
        try:
            self._parser.write(piece)
        except FormParserError as error:
            raise _malformed(str(error)) from None

    def decode(self, body: type[Decoded]) -> Decoded:
        """Return the whole form as `body`, with its texts converted to what the fields are.

        A field that is a list is sent once for each element, as `name` or `name[]`.

        Raises:
            ApiError: 400, with the field at fault as `param`.
        """
        if not self._ended:
            raise _malformed("it ends before its last boundary")
        described = inspect.type_info(body)
        assert isinstance(described, inspect.StructType)
        fields = described.fields
        lists = {field.encode_name for field in fields if _may_be_list(field.type)}
        values: dict[str, Any] = {}
        for part in self._parts:
            field, value = part.field.removesuffix("[]"), part.value()
            if field in lists:
                values.setdefault(field, []).append(value)
            elif field in values:
                said = shown(field, NAME)
                raise ApiError(400, f"{said}: it is sent more than once; send it once", param=said)
            else:
                values[field] = value
        try:
            request = msgspec.convert(values, body, strict=False)
        except msgspec.ValidationError as error:
            refusal = wrong_field(error)
            if WANTED in refusal.message:
                what = f"{refusal.param}: it is no file; send it as one, with a file name"
                refusal = ApiError(400, what, param=refusal.param)
            raise refusal from None
        for each in fields:
            number = getattr(request, each.name)
            if isinstance(number, float) and not math.isfinite(number):
                name = each.encode_name
                raise ApiError(400, f"{name}: it is not a number", param=name)
        return request

    def _begin(self) -> None:
        if len(self._parts) == FORM_PARTS:
            raise _malformed(f"it has more than {FORM_PARTS} parts")
        self._parts.append(_Part())

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._parts[-1].header_name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._parts[-1].header_value += data[start:end]

    def _header_end(self) -> None:
        self._parts[-1].header_end()

    def _headers_finished(self) -> None:
        self._parts[-1].headers_finished()

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._parts[-1].add(data[start:end])

    def _end(self) -> None:
        self._ended = True


class _Part:
    """One field or file; `field` is its name."""

    def __init__(self) -> None:
        self.field = ""
        self.header_name = b""
        self.header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._file_name: str | None = None
        self._content = bytearray()

    def header_end(self) -> None:
        self._headers[self.header_name.lower()] = self.header_value
        self.header_name = self.header_value = b""

    def headers_finished(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition"))
        self.field = _text(options.get(b"name", b""))
        if kind != b"form-data" or not self.field:
            raise _malformed("one of its parts has no Content-Disposition: form-data with a name")
        coding = self._headers.get(b"content-transfer-encoding", b"binary").lower()
        if coding not in (b"binary", b"8bit", b"7bit"):
            raise self._unreadable(
                "its Content-Transfer-Encoding is not read; send the bytes as they are"
            )
        if b"filename" in options:
            self._file_name = _text(options[b"filename"])

    def add(self, data: bytes) -> None:
        self._content += data
        if self._file_name is None and len(self._content) > FIELD_BYTES:
            raise self._unreadable(
                f"it is longer than {FIELD_BYTES} bytes; send less, or if it is a file, send it "
                "with a file name"
            )

    def value(self) -> str | Upload:
        """Return the text, or the file if the client has named it, and let go of it."""
        content, self._content = self._content, bytearray()
        if self._file_name is not None:
            content_type = self._headers.get(b"content-type", b"")
            return Upload(bytes(content), self._file_name, _text(content_type))
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise self._unreadable(
                "it is not UTF-8; if it is a file, send it with a file name"
            ) from None

    def _unreadable(self, what: str) -> ApiError:
        said = shown(self.field, NAME)
        return ApiError(400, f"{said}: {what}", param=said, code="invalid_form")


def _may_be_list(kind: inspect.Type) -> bool:
    if isinstance(kind, inspect.UnionType):
        return any(map(_may_be_list, kind.types))
    if isinstance(kind, inspect.Metadata):
        return _may_be_list(kind.type)
    return isinstance(kind, inspect.ListType)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace")


def _malformed(reason: str) -> ApiError:
    return ApiError(
        400,
        f"the form cannot be read: {shown(reason, NAME * 4)}; send multipart/form-data "
        "as an HTTP library makes it",
        code="invalid_form",
    )
