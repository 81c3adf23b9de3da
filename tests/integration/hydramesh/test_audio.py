"""Programs with sound, as processes: WAV files over a bad link, and a room that counts words."""

import ctypes
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile

from support.links.lossy_relay import Conditions, LossyRelay
from support.processes.daemon import Daemon
from support.processes.head_process import HeadProcess
from support.processes.heads import Head
from support.processes.worker_process import WorkerProcess

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "src/hydramesh/examples"
RECORDINGS = ROOT / "tests/support/recordings"
RATE = 16000
BAD = Conditions(delay=0.030, jitter=0.010, loss=0.05)
CODECS = {"pcm": "(:codec :pcm)", "opus": "(:codec :opus :bitrate 32000 :signal :music)"}


@pytest.fixture(params=CODECS)
def codec(request: pytest.FixtureRequest) -> str:
    """A way in which sound travels; Opus only where its library is."""
    if request.param == "opus":
        _need_opus()
    return CODECS[request.param]


def _need_opus() -> None:
    try:
        ctypes.CDLL(os.environ.get("HYDRAMESH_LIBOPUS", "libopus.so.0"))
    except OSError as error:
        pytest.skip(f"libopus is not here: {error}")


class Program(Daemon):
    """`hydramesh run` with one program, on any port of loopback."""

    def __init__(
        self,
        head: Head,
        source: Path,
        environment: dict[str, str] | None = None,
        **settings: object,
    ) -> None:
        super().__init__(
            *head.command,
            "run",
            source,
            environment={**head.environment, **(environment or {})},
            **{"domain_listen": "127.0.0.1:0", "storage": "none", **settings},
        )


@pytest.fixture
async def hearing(stack: AsyncExitStack, tmp_path: Path) -> str:
    """The address of a head whose worker writes down what is said."""
    head = await stack.enter_async_context(HeadProcess(http_listen=""))
    worker = WorkerProcess(
        heads=head.address,
        models=["daiic-tiny-hear"],
        models_dir=ROOT / "local-models",
        state_dir=tmp_path / "worker",
        allow_downloads=False,
    )
    await stack.enter_async_context(worker)
    return head.address


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    """What is entered here ends with the test."""
    async with AsyncExitStack() as stack:
        yield stack


def sweep(seconds: float) -> np.ndarray:
    """Return a tone that rises from 200 to 3400 Hz."""
    time = np.arange(int(RATE * seconds)) / RATE
    octaves = np.log2(3400 / 200)
    phase = 200 * seconds / (octaves * np.log(2)) * (2 ** (octaves * time / seconds) - 1)
    return (12000 * np.sin(2 * np.pi * phase)).astype(np.int16)


def likeness(said: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Return how well each tenth of a second of `said` is found in `heard`, at most 1."""
    window = RATE // 10
    found = []
    power = np.convolve(heard.astype(float) ** 2, np.ones(window), "valid")
    for start in range(0, len(said) - window, window):
        piece = said[start : start + window].astype(float)
        size = 1 << (len(heard) + window).bit_length()
        product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(piece, size)), size)
        scale = np.sqrt(power * (piece**2).sum()) + 1e3
        found.append((product[: len(power)] / scale).max())
    return np.array(found)


async def test_a_wav_file_goes_over_a_bad_link_into_a_wav_file(
    hydramesh: Head, codec: str, tmp_path: Path, stack: AsyncExitStack
) -> None:
    said = sweep(5)
    soundfile.write(tmp_path / "in.wav", said, RATE)
    (tmp_path / "listen.lisp").write_text(
        f'(defaudio-stream hall (:rate {RATE}) {codec} (:to "{tmp_path}/out.wav"))'
    )
    (tmp_path / "speak.lisp").write_text(
        f'(defaudio-stream voice (:rate {RATE}) {codec} (:from "{tmp_path}/in.wav")'
        '(:on report (peer report) (log-info "heard" :lost (report-lost report)'
        " :delay (report-delay report))) "
        '(:on end () (log-info "all was said")))'
    )
    listener = await stack.enter_async_context(Program(hydramesh, tmp_path / "listen.lisp"))
    relay = await stack.enter_async_context(await LossyRelay.start(listener.host_port, BAD))
    to = "{}:{}".format(*relay.address)
    speaker = await stack.enter_async_context(
        Program(hydramesh, tmp_path / "speak.lisp", domain_peers=to)
    )
    await speaker.says("all was said")
    reports = speaker.log.count("heard")
    await speaker.says(rf"(?s)(heard.*?){{{reports + 2}}}")
    assert listener.stop() == 0 and speaker.stop() == 0, listener.log + speaker.log
    heard, rate = soundfile.read(tmp_path / "out.wav", dtype="int16")
    assert rate == RATE and len(heard) > len(said)
    found = likeness(said, heard)
    print(
        f"{codec}: {(found > 0.9).mean():.0%} of the sound is there; {speaker.log.splitlines()[-3]}"
    )
    # However busy this machine is, whose pauses are gaps.
    assert (found > 0.9).mean() > 0.6
    assert int(re.findall(r"lost=(\d+)", speaker.log)[-1]) > 0


async def test_a_room_hears_several_microphones_and_counts_what_is_said(
    hydramesh: Head, hearing: str, tmp_path: Path, stack: AsyncExitStack
) -> None:
    _need_opus()
    sound, rate = soundfile.read(RECORDINGS / "one-two-three.ogg", dtype="int16")
    soundfile.write(tmp_path / "digits.wav", sound, rate)
    soundfile.write(tmp_path / "silence.wav", np.zeros(rate, np.int16), rate)
    room = await stack.enter_async_context(
        Program(
            hydramesh,
            EXAMPLES / "room.lisp",
            {"ROOM_WAV": f"{tmp_path}/room.wav"},
            heads=hearing,
        )
    )
    microphones = [
        await stack.enter_async_context(
            Program(
                hydramesh,
                EXAMPLES / "microphone.lisp",
                {"MICROPHONE": f"{tmp_path}/{name}.wav", "EARS": f"{tmp_path}/ears{number}.wav"},
                domain_peers=room.address,
            )
        )
        for number, name in enumerate(["digits", "digits", "silence"])
    ]
    await room.says(r"(?s)(said .*?counts=.*?){2}")
    print(room.log)
    last = [line for line in room.log.splitlines() if "counts=" in line][-1]
    for word in ("one", "two", "three"):
        assert f"{word} 2" in last, room.log
    assert len(set(re.findall(r"speaker=(\d+)", room.log))) == 3
    for program in [*microphones, room]:
        assert program.stop() == 0, program.log
    for name in ("room", "ears2"):  # who says nothing hears the others
        heard, _ = soundfile.read(tmp_path / f"{name}.wav", dtype="int16")
        assert np.abs(heard).max() > 3000


async def test_what_the_document_teaches_of_sound_works(
    hydramesh: Head, hearing: str, tmp_path: Path, stack: AsyncExitStack
) -> None:
    _need_opus()
    section = (ROOT / "docs/hydramesh.md").read_text("utf-8").split("\n## Sound\n")[1]
    [source] = re.findall(r"```lisp\n(.*?)```", section.split("\n## ")[0], re.DOTALL)
    (tmp_path / "room.lisp").write_text(source.replace("heard.wav", f"{tmp_path}/heard.wav"))
    sound, rate = soundfile.read(RECORDINGS / "one-two-three.ogg", dtype="int16")
    soundfile.write(tmp_path / "digits.wav", sound, rate)
    room = await stack.enter_async_context(
        Program(hydramesh, tmp_path / "room.lisp", heads=hearing)
    )
    await stack.enter_async_context(
        Program(
            hydramesh,
            EXAMPLES / "microphone.lisp",
            {"MICROPHONE": f"{tmp_path}/digits.wav"},
            domain_peers=room.address,
        )
    )
    assert await room.says(r" said .*text='?([a-z ]+)") == "one two three"
    assert room.stop() == 0
    assert soundfile.info(tmp_path / "heard.wav").duration > len(sound) / rate


async def test_a_program_with_opus_says_what_to_install(
    hydramesh: Head, tmp_path: Path, stack: AsyncExitStack
) -> None:
    (tmp_path / "voice.lisp").write_text("(defaudio-stream voice (:codec :opus))")
    program = Program(
        hydramesh, tmp_path / "voice.lisp", {"HYDRAMESH_LIBOPUS": "/nowhere/libopus.so.0"}
    )
    program.start()
    assert await program.ended() == 1
    assert "libopus0" in program.log and "/nowhere/libopus.so.0" in program.log, program.log
