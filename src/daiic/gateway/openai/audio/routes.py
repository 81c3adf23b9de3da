"""The routes of OpenAI's API for recordings and speech."""

from starlette.routing import Route

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.form_endpoint import FormEndpoint
from daiic.gateway.http.json_endpoint import JsonEndpoint
from daiic.gateway.http.post_endpoint import Answer, Request
from daiic.gateway.openai.audio.speech import speak
from daiic.gateway.openai.audio.transcriptions import transcribe, translate
from daiic.gateway.openai.errors import error_body
from daiic.gateway.openai.schema.audio import (
    SpeechRequest,
    TranscriptionRequest,
    TranslationRequest,
)
from daiic.work import WORK


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes."""
    hear, say = WORK["transcribe"], WORK["speak"]

    def form(path: str, body: type[Request], answer: Answer[Request]) -> Route:
        endpoint = FormEndpoint(gateway, "transcription", hear, body, answer, error_body)
        return Route(path, endpoint, methods=["POST"])

    speech = JsonEndpoint(gateway, "speech", say, SpeechRequest, speak, error_body)
    return [
        form("/v1/audio/transcriptions", TranscriptionRequest, transcribe),
        form("/v1/audio/translations", TranslationRequest, translate),
        Route("/v1/audio/speech", speech, methods=["POST"]),
    ]
