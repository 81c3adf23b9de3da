"""GGUF models on cards: with a llama-server that says it has some, and computes without."""

import os
import sys
from pathlib import Path

import pytest
import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.backend import Backend, choose
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.llama_cpp.llama_server import LlamaServer
from daiic.worker.engines.llama_cpp.load import load
from daiic.worker.memory.budget import MemoryBudget
from support.llama_cpp.running import PROGRAMS, WITHOUT, answer, whole
from support.models import tiny_gguf

GIB = 1 << 30
pytestmark = pytest.mark.skipif(
    not (PROGRAMS / "llama-server").exists(),
    reason="needs tests/support/llama_cpp/fetch.sh .venv/llama.cpp",
)
SCRIPT = """\
#!{python}
import os, sys
if sys.argv[1:] == ["--list-devices"]:
    print("Available devices:")
    print("  Vulkan0: A Radeon (16384 MiB, 16000 MiB free)")
    print("  Vulkan1: An Arc (8192 MiB, 8000 MiB free)")
    raise SystemExit
rest = sys.argv[1:]
if "--model" in rest:
    open({said!r}, "w").write("\\n".join(rest))
for option in ("--device", "--gpu-layers", "--split-mode", "--tensor-split"):
    if option in rest:
        place = rest.index(option)
        del rest[place : place + 2]
os.execv({program!r}, [{program!r}, *rest])
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.chat_model(tmp_path_factory.mktemp("models") / "chat.gguf")


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file with what the last server was started with."""
    said = tmp_path / "said"
    file = tmp_path / "bin" / "llama-server"
    file.parent.mkdir()
    program = str(PROGRAMS / "llama-server")
    file.write_text(SCRIPT.format(python=sys.executable, said=str(said), program=program))
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{WITHOUT}")
    return said


@pytest.fixture
async def backend(said: Path) -> Backend:
    chosen = choose("vulkan", await LlamaServer().devices())
    assert (chosen.kind, chosen.name) == (pb.VULKAN, "A Radeon, An Arc")
    return chosen


async def test_a_model_on_cards_counts_to_their_memory_until_it_is_gone(
    said: Path, backend: Backend, model: Path
) -> None:
    options = LoadOptions(backend.on_card(1), slots=2)
    engine = await load(model, options, MemoryBudget(GIB, 0, cards=(GIB,)), lambda done: None)
    assert engine.placement == "gpu" and engine.choice.startswith("a GGUF on a GPU; ")
    arguments = said.read_text().split("\n")
    assert arguments[arguments.index("--device") + 1] == "Vulkan1"
    taken = options.children.on(1)
    assert model.stat().st_size < taken <= engine.footprint
    task = pb.Task(text=pb.TextTask(prompt="hello", max_tokens=4))
    assert (await answer(engine, task))[-1].final
    await engine.close()
    await engine.close()
    assert options.children.total == 0


async def test_a_model_goes_over_several_cards_and_what_is_left_to_ram(
    said: Path, backend: Backend, model: Path
) -> None:
    small = 300 << 20
    options = LoadOptions(backend, slots=1)
    budget = MemoryBudget(2 * small, GIB, cards=(small, small))
    engine = await load(model, options, budget, lambda done: None)
    arguments = said.read_text().split("\n")
    assert arguments[arguments.index("--device") + 1] == "Vulkan0,Vulkan1"
    assert arguments[arguments.index("--tensor-split") + 1] == "44,44"
    assert engine.placement == "gpu+ram" and "2 GPUs with" in engine.choice
    await engine.close()
    with pytest.raises(TaskError) as refusal:
        await load(
            model, LoadOptions(backend, slots=1, ram_offload=False), budget, lambda done: None
        )
    assert refusal.value.code == pb.OUT_OF_MEMORY


async def test_a_processor_is_kept_to_though_the_program_has_cards(said: Path, model: Path) -> None:
    processor = Backend(pb.CPU, torch.device("cpu"), "A processor")
    engine = await load(model, LoadOptions(processor), MemoryBudget(0, GIB), lambda done: None)
    arguments = said.read_text().split("\n")
    assert arguments[arguments.index("--device") + 1] == "none"
    assert engine.placement == "ram" and engine.choice.startswith("a GGUF on a CPU; ")
    assert whole(await answer(engine, pb.Task(text=pb.TextTask(prompt="hi", max_tokens=2))))
    await engine.close()
