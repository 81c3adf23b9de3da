"""OpenAI's clients always name one of OpenAI's voices, whatever voices a model has."""

from collections.abc import AsyncIterator

import httpx
import pytest

from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import ScriptedHead, able_worker
from support.processes.gateway_process import RunningGateway


@pytest.fixture
def speaker(head: ScriptedHead) -> ScriptedHead:
    """A cluster whose model has a voice of its own, and one that is called like one of OpenAI's."""
    head.status = able_worker()
    models = head.status.workers[0].heartbeat.models
    (voice,) = (model for model in models if model.name == "stub-voice")
    voice.voices.append("nova")
    head.script = says_one
    return head


async def says_one(task: pb.Task) -> AsyncIterator[pb.Result]:
    yield pb.Result(speech=pb.Speech(samples=bytes(480), rate=24_000), final=True)


@pytest.mark.parametrize("model", ["stub-voice", "stub-voice:latest", "Stub-Voice"])
async def test_a_voice_is_asked_for_if_the_model_has_it_or_nobody_but_the_worker_can_know(
    speaker: ScriptedHead, gateway: RunningGateway, model: str
) -> None:
    async with httpx.AsyncClient(base_url=gateway.url, timeout=60) as http:
        for voice in ("nova", "ann", "alloy", "nobody"):
            asked = {"model": model, "input": "One.", "voice": voice, "response_format": "pcm"}
            answer = await http.post("/v1/audio/speech", json=asked)
            assert answer.status_code == 200, answer.text
    assert [task.speak.voice for task in speaker.tasks] == ["nova", "ann", "", "nobody"]
    assert {task.model for task in speaker.tasks} == {"stub-voice"}
