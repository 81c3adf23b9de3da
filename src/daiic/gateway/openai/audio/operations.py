"""The endpoints of recordings and speech, for the OpenAPI document."""

from daiic.gateway.openai.audio.sound_stream import MEDIA_TYPES
from daiic.gateway.openai.audio.transcriptions import TYPES
from daiic.gateway.openai.schema.audio import (
    SpeechDelta,
    SpeechDone,
    SpeechRequest,
    TranscriptDelta,
    TranscriptDone,
    Transcription,
    TranscriptionRequest,
    TranslationRequest,
    VerboseTranscription,
)
from daiic.gateway.openapi.operation import FORM, Operation, Stream

_SUBTITLES = tuple(media_type.decode() for media_type in TYPES.values())
_SOUNDS = tuple(media_type.decode() for media_type in MEDIA_TYPES.values())

OPERATIONS = (
    Operation(
        "post",
        "/v1/audio/transcriptions",
        "Write down a recording",
        TranscriptionRequest,
        FORM,
        (Transcription, VerboseTranscription),
        _SUBTITLES,
        Stream((TranscriptDelta, TranscriptDone), has_end_mark=True),
    ),
    Operation(
        "post",
        "/v1/audio/translations",
        "Write down a recording in English",
        TranslationRequest,
        FORM,
        (Transcription, VerboseTranscription),
        _SUBTITLES,
    ),
    Operation(
        "post",
        "/v1/audio/speech",
        "Say a text",
        SpeechRequest,
        other_answers=_SOUNDS,
        stream=Stream((SpeechDelta, SpeechDone), has_end_mark=True),
    ),
)
