"""Writes audio.json, the test vectors of sound in AUDIO messages (docs/transport.md, Sound).

It follows the text and nothing else, in the plainest way. The same vectors come out every time;
`python tests/vectors/generate_audio.py` rewrites the file.
"""

import json
import struct
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("audio.json")
ABOUT = (
    "Test vectors of the payloads of AUDIO messages (docs/transport.md). Bytes are in hex; "
    "payloads with `drop` are none. Of `packets`, `sound` is what follows the header, and "
    "`samples` what it is where the codec is 16. Of `reports`, `share` is of 65,535. Of `frames`, "
    "`payload` is a packet, and `frames` say the same to other nodes of DCF. Written by "
    "tests/vectors/generate_audio.py."
)
MOST = 1143
OPUS, PCM, REPORT = 0, 16, 255


def packet(
    codec: int,
    block: int,
    rate: int,
    sound: bytes,
    *,
    channel: int = 0,
    speaker: int = 17,
    sequence: int = 0,
    time: int = 0,
    last: bool = False,
    version: int = 1,
) -> bytes:
    return (
        struct.pack(
            ">BBBBHHII",
            version << 4 | last,
            codec,
            block,
            rate,
            channel,
            speaker,
            sequence,
            time,
        )
        + sound
    )


def case(**fields: Any) -> dict[str, Any]:
    """Return a packet and what it means; `samples` are coded, if there are any."""
    samples = fields.pop("samples", None)
    sound = struct.pack(f">{len(samples)}h", *samples) if samples else fields.pop("sound")
    meaning = {
        "channel": 0,
        "speaker": 17,
        "sequence": 0,
        "time": 0,
        "last": False,
        **fields,
        "rate": 1000 * fields["rate"],
        "sound": sound.hex(),
    }
    return {
        "payload": packet(**fields, sound=sound).hex(),
        **meaning,
        **({"samples": samples} if samples else {}),
    }


def report(received: int, lost: int, late: int, share: int, jitter: int, delay: int) -> bytes:
    numbers = struct.pack(">IIIHII", received, lost, late, share, jitter, delay)
    return packet(REPORT, 0, 0, numbers, channel=5, speaker=6, sequence=1000)


def checksum(data: bytes) -> int:
    """Return the CRC-16/CCITT-FALSE of `data`."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) & 0xFFFF ^ (0x1021 if crc & 0x8000 else 0)
    return crc


def frames(sequence: int, time: int, last: bool, sound: bytes) -> dict[str, Any]:
    """Return a packet with Opus on channel 5, and the frames of DCF that say the same."""
    number, made = sequence % 2048, 20_000 * time % (1 << 24)
    pieces = [bytes([len(sound), -(-len(sound) // 4), OPUS, last])]
    pieces += [sound[at : at + 4].ljust(4, b"\0") for at in range(0, len(sound), 4)]
    written = []
    for index, piece in enumerate(pieces):
        head = struct.pack(">BBHHH", 0xD3, 0x13, number << 5 | index, 17, 5)
        body = head + piece + made.to_bytes(3, "big")
        written.append((body + checksum(body).to_bytes(2, "big")).hex())
    payload = packet(OPUS, 8, 48, sound, channel=5, sequence=sequence, time=time, last=last)
    return {"payload": payload.hex(), "frames": written}


def vectors() -> dict[str, Any]:
    ends = [0, 1, -1, 32767, -32768, 256, -256, 12345]
    reports = [(0,) * 6, (250, 12, 3, 3932, 5800, 21000), ((1 << 32) - 1,) * 3 + (65535,) * 3]
    names = ("received", "lost", "late", "share", "jitter", "delay")
    short = report(*reports[0])
    return {
        "about": ABOUT,
        "packets": [
            case(codec=PCM, block=1, rate=8, samples=[*ends, *range(0, -12, -1)]),
            case(codec=PCM, block=8, rate=24, samples=[7 * n for n in range(480)], time=3),
            case(codec=OPUS, block=8, rate=48, sound=bytes.fromhex("f8fffe"), last=True),
            case(
                codec=OPUS,
                block=24,
                rate=16,
                sound=bytes(60),
                channel=65535,
                speaker=65534,
                sequence=(1 << 32) - 1,
                time=1 << 31,
            ),
            case(codec=OPUS, block=8, rate=48, sound=bytes(MOST - 16)),
            case(codec=200, block=8, rate=48, sound=b""),
        ]
        + [
            {"payload": payload.hex(), "drop": True}
            for payload in (
                b"",
                packet(PCM, 8, 24, b"")[:15],
                packet(OPUS, 8, 48, bytes(MOST - 15)),
                packet(OPUS, 8, 48, bytes(60), version=0),
                packet(OPUS, 8, 48, bytes(60), version=2),
                # A frame as other nodes of DCF send them.
                bytes.fromhex("d31302000001ffff06020100010203cad7"),
            )
        ],
        "reports": [
            {"payload": report(*numbers).hex(), **dict(zip(names, numbers, strict=True))}
            for numbers in reports
        ]
        + [
            {"payload": payload.hex(), "drop": True}
            for payload in (short[:16], short[:-1], short + b"\0")
        ],
        "frames": [
            frames(0, 0, True, b""),
            frames(37, 3, False, b"\xee"),
            frames(5000, 4999, False, bytes(range(60))),
            frames((1 << 32) - 1, 1000, True, bytes(range(124))),
        ],
    }


def content() -> str:
    """Return what is in the file."""
    return json.dumps(vectors(), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(content(), encoding="utf-8")
