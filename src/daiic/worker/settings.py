"""The settings of `daiic-worker`, and which of them can change while it runs."""

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from daiic.bounded_file import read_bounded
from daiic.service.settings import (
    DaemonSettings,
    HostPort,
    OptionalHostPort,
    SettingsError,
    StatusAddress,
    default_state_dir,
)
from daiic.wire.address import is_loopback, numeric, split_host_port
from daiic.worker.slices.interface import LOOPBACK

Bytes = Annotated[int, msgspec.Meta(ge=0, title="a number of bytes, or 0 for what is measured")]
Threads = Annotated[int, msgspec.Meta(ge=0, le=1024, title="a whole number from 0 to 1024")]
Patience = Annotated[
    float, msgspec.Meta(ge=0, le=31_536_000, title="seconds, at most a year, or 0 for never")
]
Slots = Annotated[int, msgspec.Meta(ge=1, le=4096, title="a whole number from 1 to 4096")]
RayMachines = Annotated[int, msgspec.Meta(ge=2, le=64, title="a whole number from 2 to 64")]
Gpu = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^(\d{1,4}|GPU-[0-9A-Fa-f-]{1,64}|([0-9A-Fa-f]{1,8}:)?[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7])$",
        title='a card\'s number, its UUID ("GPU-…") or its PCI address ("0000:03:00.0")',
    ),
]
DraftModel = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[^=]{1,512}=[^=]{1,4096}\.gguf$",
        title='MODEL=FILE with a GGUF file, such as "qwen3-8b.gguf=drafts/qwen3-0.6b.gguf"',
    ),
]
Tag = Annotated[
    str,
    msgspec.Meta(
        pattern=r"^[^\s,]{1,64}$", title="a word of at most 64 characters, without commas"
    ),
]
MAX_TAGS = 64
"""As many as heads keep of a worker."""

MAX_TOKEN_FILE = 4096
ONE_TOKEN = "one Hugging Face token (https://huggingface.co/settings/tokens)"


class WorkerSettings(DaemonSettings, frozen=True, kw_only=True):
    """A worker of a DAIIC cluster: runs language, image and embedding models."""

    listen: Annotated[HostPort, msgspec.Meta(description="UDP address to talk to heads from")] = (
        "127.0.0.1:7727"
    )
    http_listen: StatusAddress = "127.0.0.1:7728"
    name: Annotated[
        str, msgspec.Meta(description="name shown to people; by default the host's")
    ] = msgspec.field(default_factory=socket.gethostname)
    state_dir: Annotated[str, msgspec.Meta(description="folder that keeps the worker's id")] = (
        msgspec.field(default_factory=default_state_dir)
    )
    tags: Annotated[
        tuple[Tag, ...], msgspec.Meta(description="what tasks may ask a worker for, such as a site")
    ] = ()
    heads: Annotated[tuple[HostPort, ...], msgspec.Meta(description="all heads of the cluster")] = (
        "127.0.0.1:7717",
    )
    backend: Annotated[
        Literal["auto", "cuda", "rocm", "vulkan", "cpu"],
        msgspec.Meta(description="auto (a GPU if there is one), cuda, rocm, vulkan or cpu"),
    ] = "auto"
    gpus: Annotated[
        tuple[Gpu, ...],
        msgspec.Meta(description="cards to use, by number, UUID or PCI address; none named: all"),
    ] = ()
    models: Annotated[tuple[str, ...], msgspec.Meta(description="models to load at startup")] = ()
    models_dir: Annotated[
        str, msgspec.Meta(description="folder with models that tasks name by file name")
    ] = "local-models"
    cache_dir: Annotated[
        str, msgspec.Meta(description="folder for downloads; empty for Hugging Face's own")
    ] = ""
    ollama_dir: Annotated[
        str,
        msgspec.Meta(description="folder of Ollama's models, which are served too; empty for none"),
    ] = ""
    engine: Annotated[
        Literal["auto", "vllm"],
        msgspec.Meta(
            description="what runs language models in safetensors: auto (transformers) or vllm"
        ),
    ] = "auto"
    ray_address: Annotated[
        OptionalHostPort,
        msgspec.Meta(description="Ray cluster for models that vLLM cannot run here; empty: none"),
    ] = ""
    ray_machines: Annotated[
        RayMachines, msgspec.Meta(description="machines of the Ray cluster that share a model")
    ] = 2
    llama_server: Annotated[
        str,
        msgspec.Meta(
            description="llama-server to run GGUF models with, a path or a command; empty for that "
            "on PATH, or else xllamacpp"
        ),
    ] = ""
    draft_models: Annotated[
        tuple[DraftModel, ...],
        msgspec.Meta(
            description="GGUF files that guess ahead for models, as MODEL=FILE; FILE may be "
            "relative to models_dir"
        ),
    ] = ()
    quantization: Annotated[
        Literal["auto", "none", "8bit", "4bit"],
        msgspec.Meta(description="auto (the most exact that fits), none, 8bit or 4bit weights"),
    ] = "auto"
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        msgspec.Meta(
            description="what a CPU computes in: float32, bfloat16, or auto (float32 if it fits)"
        ),
    ] = "auto"
    ram_offload: Annotated[
        bool, msgspec.Meta(description="keep weights that do not fit into the GPU in RAM")
    ] = True
    vram_limit: Annotated[
        Bytes, msgspec.Meta(description="bytes of memory to use of each card; 0 for what is free")
    ] = 0
    ram_limit: Annotated[
        Bytes, msgspec.Meta(description="bytes of RAM to use for models; 0 for what is free")
    ] = 0
    shard: Annotated[
        bool, msgspec.Meta(description="lend memory to models that no worker can hold alone")
    ] = False
    shard_listen: Annotated[
        HostPort, msgspec.Meta(description="TCP address (TLS) where memory is lent")
    ] = "127.0.0.1:7729"
    shard_interface: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[^\s/:]{0,15}$",
            title="the name of a network interface, or empty",
            description="network interface, protected by WireGuard for example, over which models "
            "are computed together with like machines; empty for none",
        ),
    ] = ""
    usb4_enabled: Annotated[
        bool,
        msgspec.Meta(
            description="reach heads over Thunderbolt or USB4 cables too, while they are plugged in"
        ),
    ] = False
    slots: Annotated[Slots, msgspec.Meta(description="tasks to run at once")] = 32
    idle_unload: Annotated[
        Patience,
        msgspec.Meta(
            description="seconds without a task after which a model leaves memory; 0: never"
        ),
    ] = 0.0
    threads: Annotated[
        Threads, msgspec.Meta(description="threads that compute on a CPU; 0: one a physical core")
    ] = 0
    allow_downloads: Annotated[
        bool, msgspec.Meta(description="download models from Hugging Face when a task names them")
    ] = True
    hf_token_file: Annotated[
        str, msgspec.Meta(description="file with the Hugging Face token for gated models")
    ] = ""

    def __post_init__(self) -> None:
        if not self.heads:
            raise ValueError('heads = [] is not valid: name a head, e.g. "127.0.0.1:7717"')
        if len(self.tags) > MAX_TAGS:
            raise ValueError(
                f"tags has {len(self.tags)} words, which is not valid: set at most {MAX_TAGS}"
            )
        named = [draft.partition("=")[0] for draft in self.draft_models]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(
                f"draft_models names two files for {twice[0]}, which is not valid: leave one of "
                "them out"
            )
        if self.gpus and self.backend == "cpu":
            raise ValueError(
                'gpus names graphics cards, and backend = "cpu" uses none: leave one of them out'
            )
        if self.ray_address and self.engine != "vllm":
            raise ValueError(
                f'ray_address = "{self.ray_address}" is for vLLM, and engine = "{self.engine}": '
                'set engine = "vllm", or leave ray_address out'
            )
        if self.shard and not self.cluster_key_file and not _is_local(self.shard_listen):
            raise ValueError(
                f'shard_listen = "{self.shard_listen}" is reached from other machines, which takes '
                "a cluster key: set cluster_key_file, or listen on 127.0.0.1"
            )
        if self.shard_interface and self.engine == "vllm":
            raise ValueError(
                f'shard_interface = "{self.shard_interface}" is for transformers, and engine = '
                '"vllm": leave one of them out'
            )
        if self.shard_interface not in ("", LOOPBACK) and not self.cluster_key_file:
            raise ValueError(
                f'shard_interface = "{self.shard_interface}" is reached from other machines, which '
                "takes a cluster key: set cluster_key_file"
            )
        remote = [head for head in self.heads if not _is_local(head)]
        if remote and _is_local(self.listen):
            port = split_host_port(self.listen)[1]
            raise ValueError(
                f'listen = "{self.listen}" cannot reach the head {remote[0]}, which is on another '
                f'machine: set listen = "0.0.0.0:{port}"'
            )


CHANGEABLE = frozenset(
    {
        "quantization",
        "precision",
        "ram_offload",
        "vram_limit",
        "ram_limit",
        "idle_unload",
        "allow_downloads",
        "hf_token_file",
        "drain_timeout",
        "log_level",
    }
)
"""What SIGHUP can change, for models loaded from then on; the rest needs a restart."""


def read_hf_token(
    settings: WorkerSettings, environment: Mapping[str, str] = os.environ
) -> str | None:
    """Return the Hugging Face token from `hf_token_file`, else from HF_TOKEN, if there is one.

    Raises:
        SettingsError: if the file cannot be read or holds no token.
    """
    if not settings.hf_token_file:
        token = environment.get("HF_TOKEN", "").strip()
        if token and not _is_token(token):
            raise SettingsError(f"HF_TOKEN does not hold a token; {ONE_TOKEN}")
        return token or None
    path = Path(settings.hf_token_file).expanduser()
    try:
        token = read_bounded(path, MAX_TOKEN_FILE).decode("ascii", "replace").strip()
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    else:
        if _is_token(token):
            return token
        reason = "does not hold a token" if token else "is empty"
    raise SettingsError(
        f'hf_token_file = "{settings.hf_token_file}" {reason}; it must be a file with {ONE_TOKEN}'
    )


def _is_token(text: str) -> bool:
    """Return whether `text` can be sent in a header."""
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _is_local(address: str) -> bool:
    """Return whether "host:port" is loopback; names other than localhost count as remote."""
    if split_host_port(address)[0] == "localhost":
        return True
    resolved = numeric(address)
    return resolved is not None and is_loopback(resolved)
