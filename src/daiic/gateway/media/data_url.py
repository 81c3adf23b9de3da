"""URLs that hold what they name (RFC 2397): "data:image/png;base64,…"."""

import binascii

from daiic.gateway.http.errors import ApiError

SCHEME = "data:"
MARK = ";base64"
LONGEST_TYPE = 256
"""Characters before the data."""


def is_data_url(url: str) -> bool:
    """Return whether `url` holds its data."""
    return url[: len(SCHEME)].lower() == SCHEME


def data_in(url: str, where: str) -> bytes:
    """Return the data in `url`; `where` names it in errors.

    Raises:
        ApiError: 400 if it is not base64, or not a URL of this kind.
    """
    comma = url.find(",", 0, LONGEST_TYPE)
    if comma < 0 or not url[:comma].lower().endswith(MARK):
        raise ApiError(
            400,
            f"{where}: the data URL has no base64 data: write data:image/png;base64,…",
            param=where,
        )
    return from_base64(url[comma + 1 :], where)


def from_base64(text: str, where: str) -> bytes:
    """Return the bytes of the base64 `text`, which is called `where` in errors.

    Raises:
        ApiError: 400 if it is none.
    """
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True)
    except ValueError:
        raise ApiError(
            400,
            f"{where}: its data is not valid base64: send the bytes of the file in base64, padded, "
            "without line breaks",
            param=where,
        ) from None
