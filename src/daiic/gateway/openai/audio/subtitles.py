"""Transcripts as subtitles: SubRip, and WebVTT (w3.org/TR/webvtt1)."""

from collections.abc import Iterable

from daiic.wire import daiic_pb2 as pb


def srt(segments: Iterable[pb.Segment]) -> str:
    """Return `segments` as a SubRip file."""
    return "".join(
        f"{number}\n{_time(s.start, ',')} --> {_time(s.end, ',')}\n{_line(s.text)}\n\n"
        for number, s in enumerate(segments, 1)
    )


def vtt(segments: Iterable[pb.Segment]) -> str:
    """Return `segments` as a WebVTT file."""
    cues = (f"{_time(s.start, '.')} --> {_time(s.end, '.')}\n{_line(s.text)}\n\n" for s in segments)
    return "WEBVTT\n\n" + "".join(cues)


def _line(text: str) -> str:
    """Return `text` on one line, in which nothing looks like the times of another cue."""
    return " ".join(text.split()).replace("-->", "->")


def _time(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{milliseconds // 1000:02}{mark}{milliseconds % 1000:03}"
