"""llama.cpp's list of cards is read within bounds, whatever a program prints."""

import sys
from pathlib import Path

import pytest

from daiic.worker.engines.llama_cpp import llama_server
from daiic.worker.engines.llama_cpp.devices import Device, parsed
from daiic.worker.engines.llama_cpp.llama_server import LlamaServer

LIST = """\
ggml_vulkan: Found 2 Vulkan devices:
Available devices:
  Vulkan0: AMD Radeon RX 7900 XTX (RADV NAVI31) (24560 MiB, 24000 MiB free)
  Vulkan1: Intel(R) Arc(tm) A770 Graphics (DG2) (16256 MiB, 16300 MiB free)
  BLAS: OpenBLAS (0 MiB, 0 MiB free)
  RPC0[10.0.0.1:50052]: far away (8 MiB, 8 MiB free)
"""
RADEON = Device("Vulkan0", "AMD Radeon RX 7900 XTX (RADV NAVI31)", 24560 << 20, 24000 << 20)
ARC = Device("Vulkan1", "Intel(R) Arc(tm) A770 Graphics (DG2)", 16256 << 20, 16256 << 20)


def program(folder: Path, body: str) -> None:
    file = folder / "llama-server"
    file.write_text(f"#!{sys.executable}\n{body}\n")
    file.chmod(0o755)


def test_cards_are_read_and_nothing_else() -> None:
    assert parsed(LIST) == [RADEON, ARC]
    assert parsed("Available devices:\n  (none)\n") == []
    assert parsed("  CUDA0: x (99999999999 MiB, 1 MiB free)\n" + "\0\x1b" * 1000) == []
    assert len(parsed("".join(f"  CUDA{n}: x (1 MiB, 1 MiB free)\n" for n in range(900)))) == 64


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (f"import sys; assert sys.argv[1:] == ['--list-devices']; print({LIST!r})", [RADEON, ARC]),
        (f"print({LIST!r}); raise SystemExit(1)", [RADEON, ARC]),
        (f"print({LIST!r})\nwhile True: print('x' * 4096)", [RADEON, ARC]),
        ("raise SystemExit('error: invalid argument: --list-devices')", []),
    ],
)
async def test_the_program_on_path_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, expected: list[Device]
) -> None:
    program(tmp_path, body)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await LlamaServer().devices() == expected


async def test_one_that_hangs_or_is_missing_has_no_cards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert await LlamaServer().devices() == []
    monkeypatch.setattr(llama_server, "PATIENCE", 0.2)
    program(tmp_path, "import time; time.sleep(600)")
    assert await LlamaServer().devices() == []
