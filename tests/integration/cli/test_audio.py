"""`daiic transcribe` and `daiic say`, of a head and of a gateway."""

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import soundfile

from support.processes.gateway_process import gateway_process
from support.processes.head_process import HeadProcess
from support.processes.worker_process import WorkerProcess

MODELS = Path(__file__).parents[3] / "local-models"
LONG = Path(__file__).parents[2] / "support" / "recordings" / "long.ogg"
SAID = "one two three four five six seven eight nine zero one two"


async def daiic(*arguments: str) -> str:
    command = [Path(sys.executable).with_name("daiic"), *arguments]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_recordings_are_written_down_and_texts_are_said(tmp_path: Path) -> None:
    async with (
        HeadProcess(http_listen="") as head,
        WorkerProcess(
            heads=head.address,
            models=["daiic-tiny-hear", "daiic-tiny-voice"],
            models_dir=MODELS,
            state_dir=tmp_path / "state",
            allow_downloads=False,
        ),
        gateway_process(f"--heads={head.address}") as gateway,
    ):
        await gateway.ready()
        spoken = []
        for where in (("--head", head.address), ("--url", gateway.url)):
            assert (await daiic("transcribe", str(LONG), *where)).split() == SAID.split()
            told = json.loads(await daiic("transcribe", str(LONG), "--json", *where))
            assert told["text"] == SAID and told["language"] == "en" and len(told["segments"]) > 2
            subtitles = await daiic("transcribe", str(LONG), "--format", "srt", *where)
            assert subtitles.startswith("1\n00:00:00,") and "-->" in subtitles
            file = tmp_path / f"said{where[0]}.wav"
            await daiic("say", "One two. Three.", "-o", str(file), "--seed", "1", *where)
            samples, rate = soundfile.read(file)
            assert np.abs(samples).max() > 0.1
            spoken.append(len(samples) / rate)
        assert 1 < spoken[0] < 4 and abs(spoken[0] - spoken[1]) < 0.01
