"""The bytes that a token stands for, which need not be whole characters."""

import re
from typing import Any

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
"""How tokenizers that come from sentencepiece write a byte that has no token of its own."""


def _byte_level() -> dict[str, int]:
    """Return the bytes of the characters by which byte-level tokenizers write them.

    Those that can be seen stand for themselves, the rest for what follows U+00FF.
    """
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {
        chr(0x100 + number): byte for number, byte in enumerate(rest)
    }


_BYTES = _byte_level()


class TokenBytes:
    """Those of the tokens of one fast tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._is_byte_level = "ByteLevel" in str(tokenizer.backend_tokenizer.decoder)
        self._added = {token.content for token in tokenizer.added_tokens_decoder.values()}

    def of(self, token: int) -> bytes:
        """Return the bytes of `token`; none if there is no such token."""
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if not isinstance(piece, str):
            return b""
        if piece in self._added:
            return piece.encode()
        byte = _BYTE.fullmatch(piece)
        if byte is not None:
            return bytes([int(byte[1], 16)])
        if self._is_byte_level and all(character in _BYTES for character in piece):
            return bytes(_BYTES[character] for character in piece)
        return piece.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()
