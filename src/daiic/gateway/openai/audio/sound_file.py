"""Sound as a file that grows sentence by sentence: what is added can be sent at once."""

import io
import struct

import numpy as np
import soundfile

from daiic.resampling import Resampler, Samples

OPENAI_RATE = 24_000
"""What OpenAI's clients take PCM for, and one of the few rates of Opus."""
_FORMATS = {"mp3": ("MP3", "MPEG_LAYER_III"), "opus": ("OGG", "OPUS"), "flac": ("FLAC", "PCM_16")}
_UNKNOWN = 0xFFFFFFFF
"""The length in a header of WAV that is written before the end is known."""


class SoundFile:
    """Encodes 16-bit samples at `rate` a second; kinds are `sound_stream`'s, its methods block."""

    def __init__(self, kind: str, rate: int) -> None:
        fixed = kind in ("pcm", "opus")
        self._resampler = Resampler(rate, OPENAI_RATE) if fixed and rate != OPENAI_RATE else None
        self._rate = OPENAI_RATE if fixed else rate
        self._is_whole = kind == "flac"
        self._ended = False
        self._out = io.BytesIO()
        self._sent = 0
        self._file = None
        if kind in _FORMATS:
            name, subtype = _FORMATS[kind]
            # Players reckon an MP3's length from its bit rate, which must be the same all through.
            rates = {"bitrate_mode": "CONSTANT", "compression_level": 0.5} if kind == "mp3" else {}
            self._file = soundfile.SoundFile(
                self._out, "w", self._rate, 1, format=name, subtype=subtype, **rates
            )
        elif kind == "wav":
            self._out.write(_wave_header(self._rate))

    def add(self, samples: bytes) -> bytes:
        """Return what the file has more with `samples`, little-endian."""
        sound = np.frombuffer(samples, "<i2").astype(np.float32) / 32768.0
        self._write(sound if self._resampler is None else self._resampler.push(sound))
        return self._new()

    def end(self) -> bytes:
        """Return the end of the file."""
        if self._resampler is not None:
            self._write(self._resampler.finish())
        if self._file is not None:
            self._file.close()
        self._ended = True
        return self._new()

    def _write(self, sound: Samples) -> None:
        if self._file is not None:
            self._file.write(sound)
        else:
            self._out.write((sound * 32767.0).round().clip(-32768, 32767).astype("<i2").tobytes())

    def _new(self) -> bytes:
        """Return what was added: of FLAC all at the end, when its length is in its header."""
        if self._is_whole and not self._ended:
            return b""
        self._out.seek(self._sent)
        new = self._out.read()
        self._sent += len(new)
        return new


def _wave_header(rate: int) -> bytes:
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", _UNKNOWN, b"WAVE", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16, b"data", _UNKNOWN),
    )
