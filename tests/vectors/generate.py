"""Writes wire.json, the test vectors of docs/transport.md for every language's implementation.

It follows the specification with nothing of daiic.wire: an implementation that agrees with the
file agrees with the text. The same vectors come out every time; `python tests/vectors/generate.py`
rewrites the file after a change of the protocol.
"""

import base64
import hashlib
import hmac
import json
import struct
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from google.protobuf import json_format

from daiic.wire import daiic_pb2 as schema

PATH = Path(__file__).with_name("wire.json")

HEARTBEAT, TASK, RESULT, ACK, PING, PONG = 0x01, 0x02, 0x03, 0x06, 0x07, 0x08
SACK, CHUNK, CANCEL, ERROR, BATCH, BUSY = 0x20, 0x21, 0x22, 0x23, 0x24, 0x25

NOW = 1_800_000_000_000_000
"""The clock of every vector: 2027-01-15T08:00:00Z in microseconds since the Epoch."""

KEY = bytes(range(32))
SESSION = bytes(range(0xA0, 0xB0))
REPLAY_WINDOW = 16384

ABOUT = (
    "Test vectors of DAIIC's wire protocol (docs/transport.md). Bytes are in hex. `drop` names the "
    "counter under which a datagram is dropped. Written by tests/vectors/generate.py."
)


def message(kind: int, sequence: int, payload: bytes = b"", timestamp: int = NOW) -> bytes:
    """Return header and payload."""
    return struct.pack(">BIQI", kind, sequence, timestamp, len(payload)) + payload


def pattern(length: int) -> bytes:
    """Return `length` bytes of which byte i is (7 i + i // 256) mod 256."""
    return bytes((7 * i + i // 256) % 256 for i in range(length))


TASK_PAYLOAD = schema.Task(
    id=7,
    model="tiny-llama",
    stream=True,
    text=schema.TextTask(prompt="Once upon a time", max_tokens=16, temperature=0.0),
).SerializeToString(deterministic=True)
RESULT_PAYLOAD = schema.Result(
    id=7, index=1, worker_id="w1", text=" there was", tokens=[310, 373]
).SerializeToString(deterministic=True)
ERROR_PAYLOAD = schema.Error(
    id=7,
    code=schema.QUEUE_FULL,
    message="1024 tasks are waiting already.",
    remedy="Try again in a few seconds, or add a worker.",
).SerializeToString(deterministic=True)
HEARTBEAT_PAYLOAD = schema.Heartbeat(
    worker_id="w1", incarnation=3, name="box", state=schema.READY, backend=schema.CPU, slots=32
).SerializeToString(deterministic=True)
CANCEL_PAYLOAD = schema.Cancel(id=7).SerializeToString(deterministic=True)


def headers() -> list[dict[str, Any]]:
    """Datagrams and what their headers say, or why they are dropped."""
    good = [
        ("least values", 1, 0, 0, b""),
        ("greatest values", 0xFF, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, b"\xff"),
        ("each field in its place", 0x02, 0x03040506, 0x0708090A0B0C0D0E, b"\x13\x14\x15"),
        ("largest datagram", TASK, 5, NOW, pattern(1183)),
    ]
    cases: list[dict[str, Any]] = [
        {
            "name": name,
            "datagram": message(kind, sequence, payload, timestamp).hex(),
            "type": kind,
            "sequence": sequence,
            "timestamp": str(timestamp),
            "payload": payload.hex(),
        }
        for name, kind, sequence, timestamp, payload in good
    ]
    task = message(TASK, 1, b"abc")
    bad = [
        ("empty", b""),
        ("one byte short of a header", message(PING, 1)[:16]),
        ("payload cut short", task[:-1]),
        ("payload too long", task + b"\0"),
        ("payload_len beyond any datagram", message(TASK, 1)[:13] + b"\xff\xff\xff\xff"),
        ("two messages without a BATCH", task + message(CANCEL, 2, CANCEL_PAYLOAD)),
    ]
    return cases + [
        {"name": name, "datagram": datagram.hex(), "drop": "dropped_malformed"}
        for name, datagram in bad
    ]


def messages() -> list[dict[str, Any]]:
    """One whole datagram for each type that carries a payload of the schema."""
    cases = [
        ("HEARTBEAT", HEARTBEAT, 0xFFFFFFFE, HEARTBEAT_PAYLOAD, schema.Heartbeat),
        ("TASK", TASK, 1, TASK_PAYLOAD, schema.Task),
        ("RESULT", RESULT, 2, RESULT_PAYLOAD, schema.Result),
        ("CANCEL", CANCEL, 3, CANCEL_PAYLOAD, schema.Cancel),
        ("ERROR", ERROR, 4, ERROR_PAYLOAD, schema.Error),
    ]
    return [
        {
            "name": name,
            "type": kind,
            "sequence": sequence,
            "timestamp": str(NOW),
            "json": json_format.MessageToDict(form.FromString(payload)),
            "payload": payload.hex(),
            "datagram": message(kind, sequence, payload).hex(),
        }
        for name, kind, sequence, payload, form in cases
    ]


def answers() -> list[dict[str, Any]]:
    """Datagrams from an address never heard of, in this order, and what it is sent at once."""
    task = message(TASK, 9, b"{}")
    old = NOW - 5_000_000
    return [
        {
            "name": "a PING is answered with its own sequence and timestamp",
            "received": message(PING, 77, b"", old).hex(),
            "sent": [message(PONG, 77, b"", old).hex()],
        },
        {
            "name": "a PING's payload does not come back",
            "received": message(PING, 78, b"anything", old).hex(),
            "sent": [message(PONG, 78, b"", old).hex()],
        },
        {
            "name": "a HEARTBEAT is acknowledged with its own sequence and timestamp",
            "received": message(HEARTBEAT, 8, HEARTBEAT_PAYLOAD, old).hex(),
            "sent": [message(ACK, 8, b"", old).hex()],
        },
        {
            "name": "a TASK is acknowledged with its sequence and the receiver's clock",
            "received": task.hex(),
            "sent": [message(ACK, 9).hex()],
        },
        {
            "name": "and so is the same TASK again, which is a duplicate",
            "received": task.hex(),
            "sent": [message(ACK, 9).hex()],
        },
        {
            "name": "a stray PONG is ignored",
            "received": message(PONG, 5).hex(),
            "sent": [],
        },
        {
            "name": "a type that is not known is dropped",
            "received": message(0x7F, 5).hex(),
            "sent": [],
            "drop": "dropped_unknown_type",
        },
    ]


def sacks() -> list[dict[str, Any]]:
    """SACK payloads: inclusive ranges; one that ends below its start goes past the wrap."""
    good: list[tuple[str, list[tuple[int, int]], list[int], list[int]]] = [
        ("no range: only a sign of life", [], [], [0, 1]),
        ("one message", [(5, 5)], [5], [4, 6]),
        ("two ranges", [(10, 12), (20, 21)], [10, 11, 12, 20, 21], [9, 13, 19, 22]),
        (
            "a range past the wrap",
            [(0xFFFFFFFE, 1)],
            [0xFFFFFFFE, 0xFFFFFFFF, 0, 1],
            [0xFFFFFFFD, 2],
        ),
    ]
    cases: list[dict[str, Any]] = []
    for name, ranges, covered, uncovered in good:
        payload = b"".join(struct.pack(">II", *r) for r in ranges)
        cases.append(
            {
                "name": name,
                "ranges": ranges,
                "acknowledges": covered,
                "leaves": uncovered,
                "payload": payload.hex(),
                "datagram": message(SACK, 0, payload).hex(),
            }
        )
    bad = [
        ("half a range", bytes(4)),
        ("more than 64 ranges", b"".join(struct.pack(">II", 2 * i, 2 * i) for i in range(65))),
    ]
    return cases + [
        {
            "name": name,
            "payload": payload.hex(),
            "datagram": message(SACK, 0, payload).hex(),
            "drop": "dropped_malformed",
        }
        for name, payload in bad
    ]


def chunk(first: int, index: int, kind: int, whole: bytes, size: int) -> bytes:
    """Return CHUNK number `index` of the message `whole`."""
    head = struct.pack(">IIHB", first, len(whole), size, kind)
    piece = whole[index * size : (index + 1) * size]
    return message(CHUNK, (first + index) & 0xFFFFFFFF, head + piece)


def chunks() -> dict[str, Any]:
    """Large messages as their CHUNKs; sizes are those of a 1200-byte path, plain and sealed."""
    cut = []
    for name, kind, first, length, size in [
        ("plain", RESULT, 1000, 2500, 1172),
        ("sealed", RESULT, 1000, 2500, 1132),
        ("a whole number of chunks, past the wrap", TASK, 0xFFFFFFFF, 2344, 1172),
        ("smallest chunk size", ERROR, 50, 300, 256),
    ]:
        whole = pattern(length)
        cut.append(
            {
                "name": name,
                "type": kind,
                "first": first,
                "size": size,
                "message": whole.hex(),
                "datagrams": [
                    chunk(first, index, kind, whole, size).hex()
                    for index in range(-(-length // size))
                ],
            }
        )

    def raw(sequence: int, first: int, total: int, size: int, kind: int, data: bytes) -> bytes:
        return message(CHUNK, sequence, struct.pack(">IIHB", first, total, size, kind) + data)

    bad = [
        ("no data", raw(1, 1, 600, 300, RESULT, b"")),
        ("chunk header cut short", message(CHUNK, 1, bytes(10))),
        ("size below 256", raw(1, 1, 600, 255, RESULT, pattern(255))),
        ("a piece too short", raw(1, 1, 600, 300, RESULT, pattern(299))),
        ("a piece too long", raw(1, 1, 600, 300, RESULT, pattern(301))),
        ("a last piece too long", raw(2, 1, 500, 300, RESULT, pattern(300))),
        ("beyond the message's end", raw(3, 1, 600, 300, RESULT, pattern(300))),
        ("before the message's start", raw(0, 1, 600, 300, RESULT, pattern(300))),
        ("an empty message", raw(1, 1, 0, 300, RESULT, pattern(300))),
        ("a type that CHUNKs do not carry", raw(1, 1, 600, 300, ACK, pattern(300))),
        ("CHUNKs in CHUNKs", raw(1, 1, 600, 300, CHUNK, pattern(300))),
    ]
    return {
        "cut": cut,
        "malformed": [
            {"name": name, "datagram": datagram.hex(), "drop": "dropped_malformed"}
            for name, datagram in bad
        ],
    }


def batches() -> list[dict[str, Any]]:
    """BATCHes and the messages in them, or why the whole BATCH is dropped."""
    ack, task = message(ACK, 3), message(TASK, 4, TASK_PAYLOAD)
    good = [
        ("nothing", []),
        ("one message", [task]),
        ("acknowledgement and messages", [ack, task, message(RESULT, 5, RESULT_PAYLOAD)]),
        ("a PONG and a BUSY, which need not travel alone", [message(PONG, 6), message(BUSY, 7)]),
    ]
    bad = [
        ("a header cut short", ack + task[:16]),
        ("a payload cut short", ack + task[:-1]),
        ("a byte too many", ack + task + b"\0"),
        ("a BATCH in a BATCH", message(BATCH, 0, ack)),
        ("a PING, which travels alone", ack + message(PING, 1)),
    ]
    return [
        {
            "name": name,
            "messages": [part.hex() for part in parts],
            "datagram": message(BATCH, 0, b"".join(parts)).hex(),
        }
        for name, parts in good
    ] + [
        {
            "name": name,
            "datagram": message(BATCH, 0, payload).hex(),
            "drop": "dropped_malformed",
        }
        for name, payload in bad
    ]


def busy() -> list[dict[str, Any]]:
    """A large message for which the receiver has no memory, and the BUSY that says so."""
    whole = pattern(2500)
    return [
        {
            "name": "the message is named by its first sequence, whichever CHUNK came",
            "first": 1000,
            "received": chunk(1000, 1, RESULT, whole, 1172).hex(),
            "sent": [message(BUSY, 1000).hex()],
        }
    ]


def hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, for the one block of 32 bytes that is needed."""
    extracted = hmac.digest(salt, secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)


def seal(counter: int, datagram: bytes, key: bytes = KEY, session: bytes = SESSION) -> bytes:
    """Return `datagram` as the sender with that key, session and counter sends it."""
    kind, sequence, timestamp, length = struct.unpack(">BIQI", datagram[:17])
    header = struct.pack(">BIQI", kind, sequence, timestamp, length + 40)
    number = struct.pack(">Q", counter)
    cipher = ChaCha20Poly1305(hkdf(key, session, b"daiic mesh 1"))
    return header + session + number + cipher.encrypt(bytes(4) + number, datagram[17:], header)


def flipped(datagram: bytes, position: int) -> bytes:
    """Return `datagram` with one bit changed."""
    changed = bytearray(datagram)
    changed[position] ^= 1
    return bytes(changed)


def sealing() -> dict[str, Any]:
    """The cluster key at work: what is sealed how, and what a receiver drops.

    The receiver's clock shows NOW. `dropped` follows `sealed`, whose datagrams have all arrived.
    """
    plain = [
        (0, message(PING, 1)),
        (1, message(TASK, 2, TASK_PAYLOAD)),
        (2, message(BATCH, 0, message(ACK, 3) + message(RESULT, 4, RESULT_PAYLOAD))),
        (0x0102030405060708, chunk(1000, 0, RESULT, pattern(2500), 1132)),
    ]
    sealed = seal(0x010203040506070A, message(TASK, 5, TASK_PAYLOAD))
    other = bytes(range(0xC0, 0xD0))
    minute = 60_000_000
    dropped = [
        ("dropped_forged", "another key", seal(0, message(PING, 1), key=bytes(32), session=other)),
        ("dropped_forged", "not sealed", message(TASK, 5, TASK_PAYLOAD)),
        ("dropped_forged", "not sealed and empty", message(PING, 5)),
        ("dropped_forged", "the type changed", flipped(sealed, 0)),
        ("dropped_forged", "the sequence changed", flipped(sealed, 4)),
        ("dropped_forged", "the timestamp changed", flipped(sealed, 12)),
        ("dropped_forged", "the counter changed", flipped(sealed, 40)),
        ("dropped_forged", "the ciphertext changed", flipped(sealed, 45)),
        ("dropped_forged", "the tag changed", flipped(sealed, len(sealed) - 1)),
        ("dropped_malformed", "the length changed", flipped(sealed, 16)),
        ("dropped_malformed", "cut short", sealed[:-1]),
        ("dropped_replayed", "a datagram again", seal(1, message(TASK, 2, TASK_PAYLOAD))),
        (
            "dropped_clock_skew",
            "a new session more than a minute behind",
            seal(0, message(PING, 1, b"", NOW - minute - 1), session=other),
        ),
        (
            "dropped_clock_skew",
            "a new session more than a minute ahead",
            seal(0, message(PING, 1, b"", NOW + minute + 1), session=other),
        ),
    ]
    accepted = [
        (
            "a new session a minute behind",
            seal(0, message(PING, 1, b"", NOW - minute), session=other),
        ),
        (
            "a known session, however late",
            seal(0x0102030405060709, message(PING, 6, b"", NOW - 10 * minute)),
        ),
    ]
    return {
        "key": KEY.hex(),
        "key_file": f"daiic-key-1:{base64.b64encode(KEY).decode()}\n",
        "session": SESSION.hex(),
        "session_key": hkdf(KEY, SESSION, b"daiic mesh 1").hex(),
        "sealed": [
            {"counter": str(counter), "plain": data.hex(), "sealed": seal(counter, data).hex()}
            for counter, data in plain
        ],
        "dropped": [
            {"name": name, "datagram": datagram.hex(), "drop": drop}
            for drop, name, datagram in dropped
        ],
        "accepted": [{"name": name, "datagram": datagram.hex()} for name, datagram in accepted],
    }


def replays() -> dict[str, Any]:
    """Counters in the order of their arrival, and whether each is accepted."""
    w = REPLAY_WINDOW
    cases = [
        ("in order", [0, 1, 2, 3], [1, 1, 1, 1]),
        ("each once", [0, 0, 1, 0, 1], [1, 0, 1, 0, 0]),
        ("out of order", [5, 3, 4, 3, 5, 0], [1, 1, 1, 0, 0, 1]),
        ("the window's edge", [w, 1, 0, 1], [1, 1, 0, 0]),
        ("a leap clears the window", [3, 10 * w, 3, 9 * w + 1, 9 * w, 10 * w], [1, 1, 0, 1, 0, 0]),
        ("a leap of one window less one", [10, 9 + w, 10, 11], [1, 1, 0, 1]),
        ("the greatest counter", [2**64 - 1, 2**64 - 1, 2**64 - 2, 0], [1, 0, 1, 0]),
    ]
    return {
        "window": w,
        "cases": [
            {
                "name": name,
                "counters": [str(counter) for counter in counters],
                "accepted": [bool(a) for a in accepted],
            }
            for name, counters, accepted in cases
        ],
    }


def json_tasks() -> dict[str, Any]:
    """TASK payloads in JSON with the same in Protocol Buffers, and RESULTs the other way."""
    tasks = [
        '{"id":"7","model":"tiny-llama","stream":true,'
        '"text":{"prompt":"Once upon a time","maxTokens":16,"temperature":0}}',
        '{"id":7,"model":"tiny-llama","stream":true,'
        '"text":{"prompt":"Once upon a time","max_tokens":16,"temperature":0.0}}',
        '{"model":"m","text":{"messages":[{"role":"user","content":"Grüße"}]}}',
        '{"model":"shapes.safetensors","deadlineMs":60000,'
        '"image":{"prompt":"a red circle","width":64,"height":64,"steps":4,"seed":"1","n":2}}',
        '{"model":"e","embed":{"inputs":["a","b"]}}',
        '{"model":"m","load":{}}',
        '{"status":{}}',
    ]
    results = [
        schema.Result(id=7, final=True, text="!", tokens=[5], worker_id="w1",
                      finish_reason=schema.FINISH_REASON_STOP,
                      usage=schema.Usage(prompt_tokens=4, completion_tokens=1)),
        schema.Result(id=2**64 - 1, index=3, images=[schema.Image(png=b"\x89PNG", seed=9)]),
        schema.Result(id=1, final=True, error=schema.Error(
            id=1, code=schema.NO_WORKER, message="No worker is up.", remedy="Start one.")),
    ]  # fmt: skip
    return {
        "tasks": [
            {
                "json": text,
                "protobuf": json_format.Parse(text, schema.Task())
                .SerializeToString(deterministic=True)
                .hex(),
            }
            for text in tasks
        ],
        "results": [
            {
                "protobuf": result.SerializeToString(deterministic=True).hex(),
                "json": json_format.MessageToDict(result),
            }
            for result in results
        ],
    }


def vectors() -> dict[str, Any]:
    """Return the whole file as a value."""
    return {
        "about": ABOUT,
        "now": str(NOW),
        "headers": headers(),
        "messages": messages(),
        "answers": answers(),
        "sacks": sacks(),
        "chunks": chunks(),
        "batches": batches(),
        "busy": busy(),
        "sealing": sealing(),
        "replay": replays(),
        "json": json_tasks(),
    }


def text() -> str:
    """Return the file's text."""
    return json.dumps(vectors(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
