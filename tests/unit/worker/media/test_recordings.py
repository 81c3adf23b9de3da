"""Recordings of tasks: what is decoded, and what strangers can make of them."""

import io
import struct

import numpy as np
import pytest
import soundfile

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.media import recordings
from daiic.worker.media.recordings import RATE, decoded


def tone(rate: int, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


def file(samples: np.ndarray, rate: int, kind: str, subtype: str | None = None) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format=kind, subtype=subtype)
    return out.getvalue()


def refusal(data: bytes) -> TaskError:
    with pytest.raises(TaskError) as caught:
        decoded(data)
    assert caught.value.code == pb.BAD_REQUEST and caught.value.remedy
    return caught.value


@pytest.mark.parametrize(
    "kind, subtype, rate",
    [
        ("WAV", "PCM_16", 44_100),
        ("WAV", "FLOAT", 8_000),
        ("WAV", "ULAW", 8_000),
        ("FLAC", "PCM_24", 96_000),
        ("OGG", "VORBIS", 22_050),
        ("OGG", "OPUS", 48_000),
        ("MP3", None, 32_000),
        ("AIFF", "PCM_16", 11_025),
    ],
)
def test_what_people_record_with_sounds_the_same(kind: str, subtype: str | None, rate: int) -> None:
    heard = decoded(file(tone(rate, channels=2), rate, kind, subtype))
    assert heard.seconds == pytest.approx(1.0, abs=0.1)
    middle = heard.part(RATE // 4, RATE // 2)
    assert np.abs(np.fft.rfft(middle)).argmax() == 440 / 2  # of half a second
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.12)


def test_what_one_rate_holds_beyond_the_other_is_not_folded_back() -> None:
    shrill = 0.5 * np.sin(2 * np.pi * 15_000 * np.arange(48_000) / 48_000)
    heard = decoded(file(shrill, 48_000, "FLAC"))
    assert np.abs(heard.part(1000, 14_000)).max() < 0.001


def test_numbers_that_are_none_are_silence() -> None:
    samples = tone(RATE)
    samples[100], samples[200], samples[300] = np.nan, np.inf, -np.inf
    heard = decoded(file(samples, RATE, "WAV", "FLOAT"))
    assert np.isfinite(heard.part(0, RATE)).all()


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3"])
def test_of_a_file_that_is_cut_off_there_is_what_there_is(kind: str) -> None:
    whole = file(tone(RATE, 4.0), RATE, kind)
    assert 0.5 < decoded(whole[: len(whole) // 2]).seconds < 3.5


def test_a_header_that_claims_hours_is_not_believed() -> None:
    data = bytearray(file(tone(RATE, 0.5), RATE, "WAV"))
    struct.pack_into("<I", data, 4, 0xFFFFFFF0)
    struct.pack_into("<I", data, data.index(b"data") + 4, 36_000 * RATE * 2)
    assert decoded(bytes(data)).seconds == pytest.approx(0.5)


def test_a_small_file_of_much_silence_is_not_decoded_to_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recordings, "MAX_SAMPLES", 1 << 20)
    silence = file(np.zeros((1 << 20, 8), np.int16), 192_000, "FLAC")
    assert len(silence) < 100_000
    assert "samples in all channels" in refusal(silence).message


def test_a_recording_may_not_last_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "MAX_SECONDS", 1)
    assert "minutes" in refusal(file(tone(RATE, 20.0), RATE, "FLAC")).message


@pytest.mark.parametrize(
    "data, said",
    [
        (b"", "empty"),
        (b"\x1a\x45\xdf\xa3" + bytes(100), "WebM"),
        (b"\0\0\0\x20ftypM4A " + bytes(100), "M4A"),
        (b"hello, is this on?", "no format"),
        (b"MATLAB 5.0 MAT-file", "no format"),
        (b"RIFF" + bytes(40), "decoded"),
        (b"fLaC" + bytes(40), "decoded"),
        (b"OggS" + b"\xff" * 400, "decoded"),
        (b"\xff\xfb" + bytes(10), "decoded"),
        (file(np.zeros((0, 1)), RATE, "WAV"), "no sound"),
        (file(np.zeros((10, 9)), RATE, "WAV"), "9 channels"),
        (file(np.zeros((10, 1)), 15_999, "WAV"), "15999 samples a second"),
        (bytes(recordings.MAX_BYTES + 1), "MiB"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_recording_is_refused_with_what_to_send(data: bytes, said: str) -> None:
    assert said in refusal(data).message


def test_any_damage_is_a_refusal_or_sound() -> None:
    rng = np.random.default_rng(3)
    for kind in ("WAV", "FLAC", "OGG", "MP3", "AIFF"):
        whole = file(tone(RATE, 0.3), RATE, kind)
        for _ in range(40):
            data = bytearray(whole)
            for place in rng.integers(0, len(data), 4):
                data[place] = rng.integers(256)
            try:
                assert decoded(bytes(data)).seconds < 7201
            except TaskError as error:
                assert error.code == pb.BAD_REQUEST


def test_decoding_ends_when_nobody_waits_any_more() -> None:
    with pytest.raises(TaskError) as caught:
        decoded(file(tone(RATE), RATE, "WAV"), lambda: False)
    assert caught.value.code == pb.CANCELLED
