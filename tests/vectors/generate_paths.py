"""Writes paths.json, the test vectors of paths over links (docs/transport.md, Paths over a link).

It follows the text with nothing of the implementation. The same vectors come out every time;
`python tests/vectors/generate_paths.py` rewrites the file after a change of the protocol.
"""

import hashlib
import hmac
import json
import struct
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

PATH = Path(__file__).with_name("paths.json")
ABOUT = (
    "Test vectors of PATH messages (docs/transport.md, Paths over a link). Bytes are in hex. "
    "`said` are payloads on a link with what they mean, `challenges` those on the ordinary "
    "network; those with `drop` mean nothing. `sealed` is a HELLO as a whole datagram, with the "
    "key and the session that it is sealed with. Written by tests/vectors/generate_paths.py."
)
MESSAGE = 0x27
VERSION = 1
HELLO, CHALLENGE, PROOF, PROBE, ECHO = range(5)
NOW = 1_800_000_000_000_000
KEY = bytes(range(32))
SESSION = bytes(range(0xA0, 0xB0))
ID = bytes(range(0x10, 0x20))
NONCE = bytes(range(0x40, 0x50))
IP = "fe80::a800:ff:fe12:3456"
PORT = 40123
LARGEST = 65474


def opening(kind: int, version: int = VERSION) -> bytes:
    """Return what every message on a link begins with."""
    address = IPv6Address(IP).packed
    return bytes([kind, version]) + ID + address + struct.pack(">HH", PORT, LARGEST)


def said(kind: int, rest: bytes = b"", **meaning: Any) -> dict[str, Any]:
    sender = {"id": ID.hex(), "ip": IP, "port": PORT, "largest": LARGEST}
    return {"payload": (opening(kind) + rest).hex(), "sender": sender, **meaning}


def challenge(*addresses: tuple[str, int]) -> dict[str, Any]:
    payload = bytes([CHALLENGE, VERSION]) + ID + NONCE
    for ip, port in addresses:
        payload += IPv6Address(ip).packed + struct.pack(">H", port)
    told = [[ip, port] for ip, port in addresses]
    return {"payload": payload.hex(), "id": ID.hex(), "nonce": NONCE.hex(), "addresses": told}


def dropped(why: str, payload: bytes) -> dict[str, Any]:
    return {"payload": payload.hex(), "drop": why}


def sealed(payload: bytes) -> bytes:
    """Return the datagram of a PATH message as docs/transport.md, Sealing, has it."""
    header = struct.pack(">BIQI", MESSAGE, 0, NOW, len(payload) + 40)
    extracted = hmac.new(SESSION, KEY, hashlib.sha256).digest()
    key = hmac.new(extracted, b"daiic mesh 1\x01", hashlib.sha256).digest()
    text = ChaCha20Poly1305(key).encrypt(bytes(12), payload, header)
    return header + SESSION + bytes(8) + text


def content() -> str:
    """Return the file's text."""
    number = struct.pack(">Q", 0x0102030405060708)
    two = [("fe80::1", 40123), ("fe80::2", 9)]
    whole = bytes.fromhex(challenge(*two)["payload"])
    vectors = {
        "about": ABOUT,
        "said": [
            said(HELLO, hello=True),
            said(PROOF, NONCE, proof=NONCE.hex()),
            said(PROBE, number + NONCE, probe=0x0102030405060708, tag=NONCE.hex()),
            said(PROBE, number + bytes(16 + 50), probe=0x0102030405060708, tag="00" * 16),
            said(ECHO, number + b"\x04\xb0\x01", echo=0x0102030405060708, size=1200, ready=True),
            said(ECHO, number + b"\x00\x40\x00", echo=0x0102030405060708, size=64, ready=False),
            dropped("nothing", b""),
            dropped("too short", opening(HELLO)[:-1]),
            dropped("longer than a HELLO", opening(HELLO) + b"\x00"),
            dropped("another version", opening(HELLO, version=2)),
            dropped("half a nonce", opening(PROOF) + NONCE[:8]),
            dropped("a nonce and more", opening(PROOF) + NONCE + b"\x00"),
            dropped("no tag", opening(PROBE) + number),
            dropped("neither ready nor not", opening(ECHO) + number + b"\x04\xb0\x02"),
            dropped("an ECHO and more", opening(ECHO) + number + b"\x04\xb0\x01\x00"),
            dropped("a CHALLENGE, which does not come on a link", whole),
            dropped("no such kind", opening(5)),
        ],
        "challenges": [
            challenge(*two[:1]),
            challenge(*two, *two),
            dropped("no address", whole[:34]),
            dropped("half an address", whole[:-5]),
            dropped("five addresses", whole + whole[34:] + whole[34:52]),
            dropped("another version", whole[:1] + b"\x02" + whole[2:]),
            dropped("a HELLO, which comes on links only", opening(HELLO)),
        ],
        "sealed": {
            "now": NOW,
            "key": KEY.hex(),
            "session": SESSION.hex(),
            "payload": opening(HELLO).hex(),
            "datagram": sealed(opening(HELLO)).hex(),
        },
    }
    return json.dumps(vectors, indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(content(), encoding="utf-8")
