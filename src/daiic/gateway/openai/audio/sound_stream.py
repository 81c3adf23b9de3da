"""The kinds of sound files, and the stream that one is sent as."""

from daiic.gateway.http.errors import ApiError

MEDIA_TYPES = {
    "mp3": b"audio/mpeg",
    "opus": b"audio/ogg",
    "flac": b"audio/flac",
    "wav": b"audio/wav",
    "pcm": b"audio/pcm",
}


class SoundStream:
    """The format of a stream that is a sound file."""

    comment = b""

    def __init__(self, kind: str) -> None:
        self.media_type = MEDIA_TYPES[kind]

    def error(self, error: ApiError) -> bytes:
        """Return nothing: a file has no place for words."""
        return b""
