"""What a window's tokens mean: passages with times, and where the next window begins.

The rules are those of OpenAI's Whisper (github.com/openai/whisper, transcribe.py). A passage is
its beginning, its text and its end. Two times after each other are the end of one and the
beginning of the next; what follows the last such pair is heard again in the next window, unless its
end is known too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from daiic.worker.engines.transformers_transcription.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Passage:
    """Something that is said; times are in seconds from the window's beginning."""

    start: float
    end: float
    tokens: tuple[int, ...]
    """Those of its times, too."""
    text: tuple[int, ...]


def closed(tokens: Sequence[int], vocabulary: Vocabulary) -> int:
    """Return how many of `tokens` belong to passages after which another one begins."""
    pairs = [
        n
        for n in range(1, len(tokens))
        if vocabulary.is_time(tokens[n]) and vocabulary.is_time(tokens[n - 1])
    ]
    return pairs[-1] if pairs else 0


def ends_with_passage(tokens: Sequence[int], vocabulary: Vocabulary) -> bool:
    """Whether the last token is the end of a passage, and none begins."""
    return len(tokens) > 1 and vocabulary.is_time(tokens[-1]) and not vocabulary.is_time(tokens[-2])


def kept(tokens: Sequence[int], vocabulary: Vocabulary) -> list[int]:
    """Return those of a whole window's `tokens` that count: not what is heard again."""
    count = closed(tokens, vocabulary)
    if not count or ends_with_passage(tokens, vocabulary):
        return list(tokens)
    return list(tokens[: count + 1])


def length(tokens: Sequence[int], vocabulary: Vocabulary, seconds: float) -> float:
    """Return after how much of a window of `seconds` the next one begins."""
    count = closed(tokens, vocabulary)
    if not count or ends_with_passage(tokens, vocabulary):
        return seconds
    return min(vocabulary.seconds(tokens[count - 1]), seconds)


def passages(tokens: Sequence[int], vocabulary: Vocabulary, seconds: float) -> list[Passage]:
    """Return what is said in `tokens`, of a window or of whole passages of it.

    `seconds` is where it ends at the latest. What has no text is left out.
    """
    found = []
    begin = 0
    for end in range(1, len(tokens) + 1):
        is_last = end == len(tokens)
        if is_last or (vocabulary.is_time(tokens[end]) and vocabulary.is_time(tokens[end - 1])):
            passage = _passage(tokens[begin:end], vocabulary, seconds)
            if passage.text and passage.end > passage.start:
                found.append(passage)
            begin = end
    return found


def _passage(tokens: Sequence[int], vocabulary: Vocabulary, seconds: float) -> Passage:
    times = [vocabulary.seconds(token) for token in tokens if vocabulary.is_time(token)]
    start = times[0] if vocabulary.is_time(tokens[0]) else 0.0
    end = times[-1] if vocabulary.is_time(tokens[-1]) and len(tokens) > 1 else seconds
    text = tuple(token for token in tokens if token < vocabulary.end)
    return Passage(min(start, seconds), min(end, seconds), tuple(tokens), text)
