"""What an image or a recording is, told from its first bytes; what clients call it is a hint."""

IMAGES = {
    "image/png": (b"\x89PNG\r\n\x1a\n", b""),
    "image/jpeg": (b"\xff\xd8\xff", b""),
    "image/webp": (b"RIFF", b"WEBP"),
}
"""The types that workers decode: how their files begin, and what is 8 bytes further on."""
AUDIO = {"wav": "audio/wav", "mp3": "audio/mpeg", "flac": "audio/flac", "ogg": "audio/ogg"}
"""The types of recordings, by the names that OpenAI's API has for them."""


def image_type(data: bytes) -> str | None:
    """Return the media type of an image, `None` if it is of no type that workers decode."""
    for name, (begin, later) in IMAGES.items():
        if data.startswith(begin) and data[8:].startswith(later):
            return name
    return None
