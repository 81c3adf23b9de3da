"""vLLM's command line and environment: with which model, on what, for how many tasks.

Options, variables and fields are those that vLLM 0.19 to 0.32 have.
"""

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daiic.errors import TaskError
from daiic.service.settings import SettingsError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.vllm import keeper
from daiic.worker.limits import LIMITS

PROGRAM = "vllm"
GIB = 1 << 30
CONSTRAINTS = {"backend": "guidance", "disable_any_whitespace": True}
"""llguidance, which reads what the other engines read; small models would add blanks for ever."""

OF_THE_NETWORK = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME", "VLLM_HOST_IP")
"""They say which network a model of several machines uses."""


@dataclass(frozen=True, slots=True)
class Ray:
    """A Ray cluster that somebody else runs; the model goes to `machines` of it, layer by layer."""

    address: str
    machines: int


@dataclass(frozen=True, slots=True)
class Options:
    """What a server is started with.

    A text may have `context` tokens, and `slots` are answered at once; all of them have
    `cache_bytes` for keys and values, on each card. `visible` is what goes into the environment so
    that `cards` of them are used; none means the CPU, with so many `threads`.
    """

    model: Path
    context: int
    slots: int
    cache_bytes: int
    cards: int = 0
    visible: Mapping[str, str] = field(default_factory=dict)
    threads: int = 0
    precision: str = ""
    ray: Ray | None = None

    def arguments(self, socket: Path) -> list[str]:
        """Return vLLM's arguments for a server that listens at `socket`."""
        arguments = ["serve", str(self.model), "--uds", str(socket)]
        arguments += ["--load-format", "safetensors", "--dtype", self.precision or "auto"]
        arguments += ["--max-model-len", str(self.context), "--max-num-seqs", str(self.slots)]
        arguments += ["--structured-outputs-config", json.dumps(CONSTRAINTS)]
        arguments += ["--max-logprobs", str(LIMITS.logprobs)]
        # What a task does not ask for is decided here, not by the model's files once more.
        arguments += ["--generation-config", "vllm", "--enable-prompt-tokens-details"]
        arguments += ["--disable-uvicorn-access-log", "--disable-fastapi-docs"]
        arguments += ["--uvicorn-log-level", "warning", "--disable-log-stats"]
        if not self.cards:
            # Compiling would take a C++ compiler on the worker's machine.
            return [*arguments, "--enforce-eager"]
        arguments += ["--kv-cache-memory-bytes", str(self.cache_bytes)]
        arguments += ["--tensor-parallel-size", str(self.cards)]
        if self.ray is not None:
            arguments += ["--distributed-executor-backend", "ray"]
            arguments += ["--pipeline-parallel-size", str(self.ray.machines)]
        return arguments

    def environment(self, place: Path) -> dict[str, str]:
        """Return what it needs in its environment; `place` is a folder for its sockets."""
        found = {
            # Else it would tell its makers what machine this is.
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            "HF_HUB_OFFLINE": "1",
            "VLLM_RPC_BASE_PATH": str(place),
            "VLLM_LOGGING_STREAM": "ext://sys.stderr",
            "VLLM_LOGGING_LEVEL": "WARNING",
            # Those of the worker are for another Python.
            "PYTHONPATH": "",
            "PYTHONHOME": "",
            **self.visible,
        }
        if self.ray is not None:
            given = {name: os.environ[name] for name in OF_THE_NETWORK if name in os.environ}
            return {**found, **given, "RAY_ADDRESS": self.ray.address}
        # Its processes speak with each other without any protection.
        found["GLOO_SOCKET_IFNAME"] = "lo"
        if not self.cards:
            found["VLLM_CPU_KVCACHE_SPACE"] = str(max(self.cache_bytes // GIB, 1))
            if self.threads:
                found |= {
                    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                    "OMP_NUM_THREADS": str(self.threads),
                }
        return found


def check_there() -> None:
    """Check that this machine has the program.

    Raises:
        SettingsError: if it has not.
    """
    if shutil.which(PROGRAM) is None:
        raise SettingsError(
            f'engine = "vllm": there is no program {PROGRAM} in this worker\'s PATH;'
            ' install vLLM, or set engine = "auto"'
        )


def command(options: Options, socket: Path) -> list[str]:
    """Return what starts a server with the program on PATH.

    Raises:
        TaskError: UNSUPPORTED if there is none.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise TaskError(
            pb.UNSUPPORTED,
            f'there is no {PROGRAM} on this worker, whose engine is set to "vllm"',
            'install vLLM so that it is on PATH, or set engine = "auto"',
        )
    kept = [sys.executable, "-I", "-S", keeper.__file__]
    return [*kept, program, *options.arguments(socket)]
