"""What the `openai` client hears and says, on workers of which one is killed meanwhile."""

import base64
import io
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openai
import pytest
import soundfile

from daiic.client import ClusterClient
from daiic.wire import daiic_pb2 as pb
from support.processes.gateway_process import RunningGateway, gateway_process
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

MODELS = Path(__file__).parents[3] / "local-models"
RECORDINGS = Path(__file__).parents[2] / "support" / "recordings"
ENGLISH = RECORDINGS / "one-two-three.ogg"
GERMAN = RECORDINGS / "german.ogg"
LONG = RECORDINGS / "long.ogg"
HEAR, VOICE = "daiic-tiny-hear", "daiic-tiny-voice"


@dataclass
class Cluster:
    gateway: RunningGateway
    client: ClusterClient
    workers: list[WorkerProcess]

    async def kill_the_one_that_works(self) -> None:
        status = (await self.client.answer(pb.Task(status=pb.StatusTask()))).status
        [busy] = [w.heartbeat.worker_id for w in status.workers if w.in_flight]
        [worker] = [worker for worker in self.workers if worker.worker_id == busy]
        await worker.kill()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with AsyncExitStack() as stack:
        head = await stack.enter_async_context(HeadProcess(http_listen=""))
        client = await stack.enter_async_context(ClusterClient([head.address]))
        workers = []
        for number in range(2):
            worker = WorkerProcess(
                heads=head.address,
                models=[HEAR, VOICE],
                models_dir=MODELS,
                state_dir=tmp_path / f"state{number}",
                allow_downloads=False,
            )
            workers.append(await stack.enter_async_context(worker))
        for worker in workers:
            for model in (HEAR, VOICE):
                load = pb.Task(model=model, worker_id=worker.worker_id, load=pb.LoadTask())
                await client.answer(load)
        gateway = await stack.enter_async_context(gateway_process(f"--heads={head.address}"))
        await gateway.ready()
        yield Cluster(gateway, client, workers)


async def test_a_client_hears_and_speaks(cluster: Cluster) -> None:
    audio = cluster.gateway.openai.audio
    heard = await audio.transcriptions.create(model=HEAR, file=ENGLISH)
    assert heard.text == "one two three" and heard.usage.seconds == 2
    told = await audio.transcriptions.create(
        model=HEAR,
        file=LONG,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert told.language == "en" and 9 < told.duration < 11
    assert [word.word for word in told.words] == told.text.split()
    assert [s.id for s in told.segments] == list(range(len(told.segments))) and told.segments
    for kind, begins in (("srt", "1\n00:00:00,"), ("vtt", "WEBVTT\n\n00:00:00."), ("text", "one")):
        text = await audio.transcriptions.create(model=HEAR, file=LONG, response_format=kind)
        assert text.startswith(begins) and text.count("-->") in (0, len(told.segments))
    stream = await audio.transcriptions.create(model=HEAR, file=LONG, stream=True)
    events = [event async for event in stream]
    assert "".join(e.delta for e in events[:-1]) == events[-1].text == told.text
    assert len(events) > 3
    put = await audio.translations.create(model=HEAR, file=GERMAN)
    assert put.text == "four five six"

    said = {"model": VOICE, "input": "Seven.", "seed": 5}
    for kind in ("mp3", "opus", "flac", "wav"):
        spoken = await _spoken(cluster, said | {"response_format": kind})
        samples, rate = soundfile.read(io.BytesIO(spoken))
        assert 0.4 < len(samples) / rate < 1.2 and np.abs(samples).max() > 0.1
        again = await audio.transcriptions.create(
            model=HEAR, file=(f"said.{kind}", spoken), language="en"
        )
        assert "seven" in again.text.split()
    low = await _spoken(cluster, said | {"response_format": "pcm", "voice": "low"})
    assert low == await _spoken(cluster, said | {"response_format": "pcm", "voice": "alloy"})
    assert low != await _spoken(cluster, said | {"response_format": "pcm", "voice": "high"})
    slow = await _spoken(cluster, said | {"response_format": "pcm", "speed": 0.5})
    assert len(slow) > 1.6 * len(low)
    async with cluster.gateway.http as http:
        answer = await http.post(
            "/v1/audio/speech", json=said | {"response_format": "pcm", "stream_format": "sse"}
        )
    data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    events = [json.loads(one) for one in data]
    assert b"".join(base64.b64decode(e["audio"]) for e in events[:-1]) == low
    assert events[-1]["type"] == "speech.audio.done" and events[-1]["usage"]["total_tokens"] > 0

    for refused in (
        audio.speech.create(model=VOICE, input="One.", voice="nobody"),
        audio.speech.create(model=VOICE, input="123", voice="low"),
        audio.speech.create(model=VOICE, input="One.", voice="low", response_format="aac"),
        audio.speech.create(model=VOICE, input="One.", voice="low", instructions="Whisper."),
        audio.speech.create(model=HEAR, input="One.", voice="low"),
        audio.transcriptions.create(model=HEAR, file=("x.webm", b"\x1a\x45\xdf\xa3" + bytes(99))),
        audio.transcriptions.create(model=HEAR, file=("x.wav", b"RIFF" + bytes(99))),
        audio.transcriptions.create(model=HEAR, file=ENGLISH, language="klingon"),
        audio.transcriptions.create(model=HEAR, file=ENGLISH, stream=True, response_format="srt"),
        audio.transcriptions.create(model=VOICE, file=ENGLISH),
    ):
        with pytest.raises(openai.BadRequestError):
            await refused


async def test_a_transcription_whose_worker_is_killed_is_the_same(cluster: Cluster) -> None:
    samples, rate = soundfile.read(LONG)
    file = io.BytesIO()
    soundfile.write(file, np.tile(samples, 6), rate, format="FLAC")
    audio = cluster.gateway.openai.audio
    wanted = {"model": HEAR, "file": ("long.flac", file.getvalue()), "temperature": 0.4}
    wanted |= {"extra_body": {"seed": 7}, "stream": True}
    undisturbed = [e async for e in await audio.transcriptions.create(**wanted)][-1].text
    assert len(undisturbed.split()) > 50
    events = []
    async for event in await audio.transcriptions.create(**wanted):
        events.append(event)
        if len(events) == 3:
            await cluster.kill_the_one_that_works()
    assert events[-1].text == undisturbed == "".join(event.delta for event in events[:-1])


async def test_speech_whose_worker_is_killed_is_the_same(cluster: Cluster) -> None:
    said = {"model": VOICE, "input": "One two three four five. " * 20, "seed": 5}
    said["response_format"] = "pcm"
    undisturbed = await _spoken(cluster, said)
    pieces = []
    async with (
        cluster.gateway.http as http,
        http.stream("POST", "/v1/audio/speech", json=said) as r,
    ):
        async for piece in r.aiter_bytes():
            pieces.append(piece)
            if len(pieces) == 2:
                await cluster.kill_the_one_that_works()
    assert b"".join(pieces) == undisturbed


async def _spoken(cluster: Cluster, said: dict[str, object]) -> bytes:
    given = {"voice": "low"} | said
    extra = {"seed": given.pop("seed")}
    speech = cluster.gateway.openai.audio.speech.with_streaming_response
    async with speech.create(**given, extra_body=extra) as answer:
        return b"".join([piece async for piece in answer.iter_bytes()])
