"""Speaking in place of typing, in a real browser with a microphone that beeps."""

import io
from collections.abc import AsyncIterator

import soundfile

from browser.chromium import Page
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import ScriptedHead
from support.processes.gateway_process import RunningGateway

SPEAK = "document.getElementById('chat-speak')"
SAID = "document.getElementById('say').value"


async def test_what_is_said_is_written_while_it_is_said(
    page: Page, gateway: RunningGateway, head: ScriptedHead
) -> None:
    seconds: list[float] = []

    async def hearing(task: pb.Task) -> AsyncIterator[pb.Result]:
        with soundfile.SoundFile(io.BytesIO(task.transcribe.audio.data)) as sound:
            assert (sound.samplerate, sound.channels) == (16000, 1)
            seconds.append(sound.frames / sound.samplerate)
        words = " ".join(["one", "two", "three"][: len(seconds)])
        yield pb.Result(
            final=True,
            text=words,
            tokens=[1],
            segments=[pb.Segment(text=words)],
            seconds=seconds[-1],
        )

    head.script = hearing
    await page.go(f"{gateway.url}/#chat")
    await page.until("!document.getElementById('send').disabled")
    assert await page.js(f"{SPEAK}.hidden")
    models = head.status.workers[0].heartbeat.models
    models.add(name="stub-ears", kind=pb.TRANSCRIPTION, state=pb.LOADED)
    await page.until(f"!{SPEAK}.hidden")
    await page.js("document.getElementById('say').value = 'Count:'")
    await page.js(f"{SPEAK}.click()")
    await page.until(f"{SAID} === 'Count: one'")
    assert await page.js(f"{SPEAK}.getAttribute('aria-pressed')") == "true"
    await page.until(f"{SAID} === 'Count: one two'")
    await page.js(f"{SPEAK}.click()")
    await page.until(f"{SAID}.startsWith('Count: one two three')")
    assert seconds == sorted(seconds) and seconds[0] > 0.1
    assert head.tasks[0].model == "stub-ears"
    assert await page.js(f"{SPEAK}.getAttribute('aria-pressed')") == "false"
    assert page.errors == []
