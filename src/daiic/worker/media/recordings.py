"""Recordings that come with tasks, as one channel of 16,000 samples a second.

A few bytes may claim to be hours, in hundreds of channels: nothing is believed
of a header, and decoding ends where a bound is reached.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import soundfile

from daiic.errors import TaskError
from daiic.resampling import MOST_FILTERS, Resampler, filters_between
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS

RATE = 16_000
BLOCK = 1 << 14
"""Samples, of all channels, that are decoded at once; of a damaged file, the block is lost."""
MAX_BYTES = LIMITS.recording
MAX_SECONDS = LIMITS.recording_seconds
MAX_SAMPLES = LIMITS.recording_samples
MAX_CHANNELS = LIMITS.recording_channels
MAX_RATE = LIMITS.recording_rate
LEAST_RATE = 1000

FORMATS = frozenset({"WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "AIFF"})
_BEGINNINGS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"ID3", b"FORM")
_CONTAINERS = {
    b"\x1a\x45\xdf\xa3": (0, "WebM or Matroska"),
    b"ftyp": (4, "MP4 or M4A"),
    b"\x30\x26\xb2\x75": (0, "WMA"),
    b"caff": (0, "CAF"),
}
REMEDY = (
    "send WAV, FLAC, MP3, Ogg Vorbis or Ogg Opus; "
    "`ffmpeg -i FILE -ac 1 -ar 16000 recording.flac` makes one of almost anything"
)


@dataclass(frozen=True, slots=True)
class Recording:
    """What a recording sounds like: 16-bit samples at RATE a second."""

    samples: npt.NDArray[np.int16]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return len(self.samples) / RATE

    def part(self, start: int, count: int) -> npt.NDArray[np.float32]:
        """Return `count` samples from `start`, fewer at the end, from -1 to 1."""
        return self.samples[start : start + count].astype(np.float32) / 32768.0


def decoded(data: bytes, is_wanted: Callable[[], bool] = lambda: True) -> Recording:
    """Return the recording in the file `data`; blocks, for some minutes at most.

    Of a file that is cut off, it is what there is, unless it is an Ogg. `is_wanted` is asked now
    and then.

    Raises:
        TaskError: BAD_REQUEST if it is no recording in one of FORMATS, or has more of anything
            than is decoded; CANCELLED if it is wanted no more.
    """
    if not data:
        raise _bad("the recording is empty", REMEDY)
    if len(data) > MAX_BYTES:
        raise _bad(
            f"the recording has {len(data) / (1 << 20):.1f} MiB",
            f"send at most {MAX_BYTES >> 20} MiB: FLAC, MP3 or Opus are smaller than WAV",
        )
    _check_beginning(data)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            return Recording(_all_of(file, is_wanted))
    except (soundfile.SoundFileError, RuntimeError, ValueError, OverflowError) as error:
        reason = str(error).partition(": ")[2] or str(error)
        raise _bad(f"the recording cannot be decoded: {reason[:200]}", REMEDY) from None


def _check_beginning(data: bytes) -> None:
    """Refuse what is known to be something else, and what libsndfile would guess about."""
    for mark, (place, name) in _CONTAINERS.items():
        if data[place : place + len(mark)] == mark:
            raise _bad(f"the recording is {name}, which is not decoded here", REMEDY)
    is_mpeg = len(data) > 1 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0
    if not (is_mpeg or data.startswith(_BEGINNINGS)):
        raise _bad("the recording is of no format that is known here", REMEDY)


def _all_of(file: soundfile.SoundFile, is_wanted: Callable[[], bool]) -> npt.NDArray[np.int16]:
    rate, channels = file.samplerate, file.channels
    if file.format not in FORMATS:
        raise _bad(f"the recording is {file.format}, which is not decoded here", REMEDY)
    if not 1 <= channels <= MAX_CHANNELS:
        raise _bad(f"the recording has {channels} channels", "mix it down to one")
    usual = filters_between(rate, RATE) <= MOST_FILTERS if rate > 0 else False
    if not (LEAST_RATE <= rate <= MAX_RATE and usual):
        raise _bad(
            f"the recording has {rate} samples a second",
            "save it with a usual rate, such as 16,000, 44,100 or 48,000",
        )
    resampler = Resampler(rate, RATE) if rate != RATE else None
    pieces: list[npt.NDArray[np.int16]] = []
    frames = 0
    while True:
        if not is_wanted():
            raise TaskError(pb.CANCELLED, "the task was cancelled", "send it again")
        try:
            block = file.read(BLOCK // channels, dtype="float32", always_2d=True)
        except soundfile.SoundFileError:
            if not frames:
                raise
            block = np.zeros((0, channels), np.float32)  # damaged from here on
        if not len(block):
            break
        frames += len(block)
        _check_length(frames / rate, frames * channels)
        mixed = np.nan_to_num(block.mean(axis=1), posinf=1.0, neginf=-1.0).clip(-1.0, 1.0)
        pieces.append(_rounded(mixed if resampler is None else resampler.push(mixed)))
    if not frames:
        raise _bad("the recording has no sound in it, or is cut off", REMEDY)
    if resampler is not None:
        pieces.append(_rounded(resampler.finish()))
    return np.concatenate(pieces)[: -(-frames * RATE // rate)]


def _check_length(seconds: float, samples: int) -> None:
    if seconds > MAX_SECONDS:
        raise _bad(
            f"the recording has more than {MAX_SECONDS / 60:.0f} minutes",
            "cut it into parts, and send one after the other",
        )
    if samples > MAX_SAMPLES:
        raise _bad(
            f"the recording has more than {MAX_SAMPLES:,} samples in all channels",
            "mix it down to one channel of 16,000 samples a second",
        )


def _rounded(samples: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    rounded: npt.NDArray[np.int16] = (
        (samples * 32767.0).round().clip(-32768, 32767).astype(np.int16)
    )
    return rounded


def _bad(what: str, remedy: str) -> TaskError:
    return TaskError(pb.BAD_REQUEST, what, remedy)
