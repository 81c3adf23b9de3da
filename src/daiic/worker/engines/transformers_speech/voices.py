"""Whose voices a model has. VITS knows its speakers by numbers; a file beside it may name them."""

from collections.abc import Mapping
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS
from daiic.worker.models.model_json import bad_file, read_object

FILE = "voices.json"
"""Maps names to numbers of speakers: {"anna": 0, "ben": 1}."""
ONLY = "default"
"""The name of a voice that has none."""
MOST = LIMITS.voices
LONGEST = 64
SHOWN = 12


def read_voices(path: Path, speakers: int) -> dict[str, int]:
    """Return the voices of the model in the directory `path`, which has so many `speakers`.

    Raises:
        TaskError: BAD_REQUEST if its file of voices does not fit it.
    """
    file = path / FILE
    named = read_object(file)
    if named is None:
        if speakers == 1:
            return {ONLY: 0}
        return {str(number): number for number in range(min(speakers, MOST))}
    for name, number in named.items():
        fits = type(number) is int and 0 <= number < speakers
        if not (fits and 0 < len(name) <= LONGEST and name.isprintable()):
            raise bad_file(file, "must map short names to numbers of the model's speakers")
    if not 0 < len(named) <= MOST:
        raise bad_file(file, f"must name one voice or more, and at most {MOST}")
    return named


def speaker_of(voices: Mapping[str, int], voice: str, model: str) -> int:
    """Return the speaker whose `voice` a task asks for; an empty one is the first.

    Raises:
        TaskError: BAD_REQUEST if `model` has no such voice.
    """
    if not voice:
        return next(iter(voices.values()))
    if voice not in voices:
        some = ", ".join(list(voices)[:SHOWN]) + (" …" if len(voices) > SHOWN else "")
        raise TaskError(
            pb.BAD_REQUEST, f"{model} has no voice {voice[:LONGEST]!r}", f"its voices are: {some}"
        )
    return voices[voice]
