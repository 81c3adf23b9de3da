"""Digits said aloud: every word by many of espeak-ng's voices, and endless recordings of them.

espeak-ng says each word by itself; a recording has some of these clips one after the other, with
pauses, at different volumes, and with noise. What is said and when is then known exactly. All is
kept as Whisper hears it, the power in bands of the mel scale, which costs no more than an addition.
"""

import io
import random
import subprocess
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import soundfile
from transformers import WhisperFeatureExtractor
from transformers.audio_utils import spectrogram, window_function

from daiic.resampling import resampled

Array = npt.NDArray[np.float32]

RATE = 16_000
FRAMES = 100  # of the mel scale, a second

# fmt: off
WORDS = {
    "en": ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    "de": ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
}
VOICES = {
    "en": ("en-us", "en-gb", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan"),
    "de": ("de",),
}
VARIANTS = (
    "", "+m1", "+m2", "+m3", "+m4", "+m5", "+m6", "+m7", "+f1", "+f2", "+f3", "+f4", "+f5",
    "+klatt", "+klatt3", "+Andy", "+Annie", "+linda", "+steph", "+max",
)
# fmt: on
TAKES = 40


def say(text: str, voice: str, *, speed: int = 160, pitch: int = 50) -> Array:
    """Return what espeak-ng makes of `text`, at RATE, without the silence before and after it."""
    command = ["espeak-ng", "--stdout", "-v", voice, "-s", str(speed), "-p", str(pitch), text]
    spoken = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    samples, rate = soundfile.read(io.BytesIO(spoken), dtype="float32")
    loud = np.flatnonzero(np.abs(samples) > 0.01 * np.abs(samples).max())
    return resampled(samples[loud[0] : loud[-1] + 1], rate, RATE)


def any_take(word: str, language: str, rng: random.Random) -> Array:
    """Return `word` as one of the voices of `language` says it."""
    voice = rng.choice(VOICES[language]) + rng.choice(VARIANTS)
    return say(word, voice, speed=rng.randint(110, 230), pitch=rng.randint(20, 80))


def mel_power(samples: Array, extractor: WhisperFeatureExtractor) -> Array:
    """Return the power of `samples` in each band and frame; Whisper takes the logarithm of it."""
    return spectrogram(
        samples,
        window_function(extractor.n_fft, "hann"),
        frame_length=extractor.n_fft,
        hop_length=extractor.hop_length,
        power=2.0,
        mel_filters=extractor.mel_filters,
    ).astype(np.float32)


def heard(power: Array) -> Array:
    """Return mel `power` as Whisper's feature extractor gives it to the model."""
    logarithm = np.log10(np.maximum(power, 1e-10))
    return (np.maximum(logarithm, logarithm.max() - 8.0) + 4.0) / 4.0


@dataclass(slots=True)
class Said:
    """A digit, and the frames in which it is said."""

    digit: int
    begins: int
    ends: int


@dataclass(slots=True)
class Recording:
    """A window that Whisper hears: mel power, and passages of digits without a long pause."""

    power: Array
    language: str
    passages: list[list[Said]] = field(default_factory=list)


class Takes:
    """Many takes of each word, and noise."""

    def __init__(self, extractor: WhisperFeatureExtractor, rng: random.Random) -> None:
        self._rng = rng
        self._frames = extractor.nb_max_frames
        self._clips = {
            language: [
                [mel_power(any_take(word, language, rng), extractor) for _ in range(TAKES)]
                for word in words
            ]
            for language, words in WORDS.items()
        }
        white = np.random.default_rng(1).standard_normal(RATE * 60).astype(np.float32)
        brown = np.convolve(white, np.ones(8, np.float32) / 8, "same").astype(np.float32)
        self._noise = [mel_power(noise, extractor) for noise in (white, brown)]

    def recording(self) -> Recording:
        """Return a new one: in one language, often shorter than the window."""
        rng = self._rng
        language = rng.choice(("en", "en", "de"))
        end = self._frames if rng.random() < 0.5 else rng.randint(FRAMES // 2, self._frames)
        made = Recording(np.zeros((len(self._noise[0]), self._frames), np.float32), language)
        # A window often begins where a passage did.
        place = int(rng.choice((0.0, rng.uniform(0, 0.6), rng.uniform(0, 2.0))) * FRAMES)
        while place < end - FRAMES // 4 and rng.random() > 0.05:
            passage = []
            gain = 10 ** rng.uniform(-1.6, 0.0)
            for _ in range(rng.choice((1, 1, 2, 3, 4))):
                digit = rng.randrange(10)
                clip = rng.choice(self._clips[language][digit])
                if place < end:
                    # Of a clip's first and last frames, half lie before and after it.
                    made.power[:, place : min(place + clip.shape[1], end)] += (
                        clip[:, : end - place] * gain
                    )
                passage.append(Said(digit, place, place + clip.shape[1] - 1))
                place = passage[-1].ends + int(rng.uniform(0.0, 0.25) * FRAMES)
            made.passages.append(passage)
            pause = rng.choice((rng.uniform(0.5, 1.0), rng.uniform(0.5, 2.5)))
            place = passage[-1].ends + int(pause * FRAMES)
        if rng.random() < 0.8:
            noise = rng.choice(self._noise)
            start = rng.randrange(noise.shape[1] - end)
            made.power[:, :end] += noise[:, start : start + end] * 10 ** rng.uniform(-9, -3.4)
        return made
