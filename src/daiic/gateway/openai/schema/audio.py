"""POST /v1/audio/transcriptions, translations and speech: what is asked for and comes back."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from daiic.gateway.http.errors import ApiError, unsupported_parameter
from daiic.gateway.http.upload import Upload
from daiic.gateway.limits import RECORDING_BYTES, SPOKEN
from daiic.gateway.openai.schema.fields import ModelName, Seed

TranscriptFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
SpeechFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
Temperature = Annotated[float, Meta(ge=0, le=1)]
Prompt = Annotated[str, Meta(max_length=8192)]


class TranslationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/audio/translations, a form. `seed` is not OpenAI's."""

    file: Upload
    model: ModelName
    prompt: Prompt = ""
    response_format: TranscriptFormat = "json"
    temperature: Temperature | None = None
    seed: Seed | None = None

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        if not self.file.data:
            raise ApiError(400, "file: it is empty; send a recording", param="file")
        if len(self.file.data) > RECORDING_BYTES:
            raise ApiError(
                400,
                f"file: it has more than {RECORDING_BYTES >> 20} MiB; send it in parts, or as "
                "FLAC, MP3 or Opus, which are smaller than WAV",
                param="file",
            )


class TranscriptionRequest(TranslationRequest, frozen=True, kw_only=True):
    """POST /v1/audio/transcriptions, a form."""

    language: Annotated[str, Meta(max_length=32)] = ""
    timestamp_granularities: list[Literal["word", "segment"]] = []
    stream: bool | None = None
    include: list[str] = []

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        TranslationRequest.check(self)
        if self.include:
            raise unsupported_parameter("include", "there is nothing to include; leave it out")
        if self.timestamp_granularities and self.response_format != "verbose_json":
            raise ApiError(
                400,
                'timestamp_granularities: they are told with "response_format": "verbose_json"',
                param="timestamp_granularities",
            )
        if self.stream and self.response_format not in ("json", "text"):
            raise ApiError(
                400,
                f"stream: not with the response_format {self.response_format}; send json or text",
                param="stream",
            )


class SpeechRequest(msgspec.Struct, frozen=True, kw_only=True):
    """POST /v1/audio/speech. `seed` is not OpenAI's."""

    model: ModelName
    input: Annotated[str, Meta(min_length=1, max_length=SPOKEN)]
    voice: Annotated[str, Meta(max_length=64)] = ""
    response_format: SpeechFormat = "mp3"
    speed: Annotated[float, Meta(ge=0.25, le=4.0)] = 1.0
    stream_format: Literal["audio", "sse"] = "audio"
    instructions: Annotated[str, Meta(max_length=SPOKEN)] = ""
    seed: Seed | None = None

    def check(self) -> None:
        """Refuse what workers cannot honour.

        Raises:
            ApiError: naming the parameter.
        """
        if self.response_format == "aac":
            raise unsupported_parameter(
                "response_format", "AAC is not written here; send mp3, opus, flac, wav or pcm"
            )
        if self.instructions:
            raise unsupported_parameter(
                "instructions", "voices here follow none; choose a voice and a speed"
            )


class Duration(msgspec.Struct, frozen=True):
    """What a transcription is reckoned by: whole seconds of the recording."""

    seconds: int
    type: Literal["duration"] = "duration"


class Transcription(msgspec.Struct, frozen=True):
    """The answer in short."""

    text: str
    usage: Duration


class TranscriptSegment(msgspec.Struct, frozen=True):
    """A passage; times are in seconds. `seek` is where it begins, in hundredths of a second."""

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float


class TranscriptWord(msgspec.Struct, frozen=True):
    """A word, and when it is said."""

    word: str
    start: float
    end: float


class VerboseTranscription(msgspec.Struct, frozen=True, omit_defaults=True):
    """The answer with all that is known."""

    task: Literal["transcribe", "translate"]
    language: str
    duration: float
    text: str
    usage: Duration
    segments: list[TranscriptSegment] | None = None
    words: list[TranscriptWord] | None = None


class TranscriptDelta(msgspec.Struct, frozen=True):
    """An event of a stream: what follows."""

    delta: str
    type: Literal["transcript.text.delta"] = "transcript.text.delta"


class TranscriptDone(msgspec.Struct, frozen=True):
    """The last event of a stream."""

    text: str
    usage: Duration
    type: Literal["transcript.text.done"] = "transcript.text.done"


class SpeechUsage(msgspec.Struct, frozen=True):
    """What speech is reckoned by: tokens of the text, and sentences."""

    input_tokens: int
    output_tokens: int
    total_tokens: int


class SpeechDelta(msgspec.Struct, frozen=True):
    """An event of a stream: more of the file, in base64."""

    audio: str
    type: Literal["speech.audio.delta"] = "speech.audio.delta"


class SpeechDone(msgspec.Struct, frozen=True):
    """The last event of a stream."""

    usage: SpeechUsage
    type: Literal["speech.audio.done"] = "speech.audio.done"
