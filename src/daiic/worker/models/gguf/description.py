"""What a GGUF model is: the part of its metadata that decides where and how it runs."""

import functools
import re
from dataclasses import dataclass
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.gguf.file_names import tag
from daiic.worker.models.gguf.files import parts_of
from daiic.worker.models.gguf.reader import Header, read_header
from daiic.worker.models.gguf.state import state_bytes
from daiic.worker.models.gguf.types import FILE_TYPES
from daiic.worker.models.model_json import shown

MOST = 1 << 31
"""Of any count; larger ones are nonsense."""
MAX_LAYERS = 4096
REMEMBERED = 1024
"""Descriptions of files; a worker looks at all of them every few seconds."""
_LAYER = re.compile(r"blk\.(\d{1,4})\.")
PERIODS = {"cohere2": 4, "gemma2": 2, "gemma3": 6, "gpt-oss": 2}
"""Every so manieth layer looks at the whole text, the others through a window, by architectures
whose files do not say it. llama.cpp knows more of them."""
STEP = 512
"""Tokens that llama.cpp computes in one step, which a window's layers keep besides."""


@dataclass(frozen=True, slots=True)
class Gguf:
    """A model in GGUF files.

    `kind` is "model", "adapter", "mmproj" or another that `general.type` has.
    `quantization` is named as llama.cpp does ("Q4_K_M"). Counts are 0, `pooling`
    is `None` and texts are "" where the files do not say. `kv_heads` has one for
    each layer (0 in those without attention), `key_length` and `value_length`
    are numbers of each. `layer_bytes` are the weights' of each layer, and
    `other_bytes` those of the rest: embeddings, output, norms. `slides` says of each layer
    whether it is known to look at the last `sliding_window` tokens only. `state_bytes` is what
    recurrent layers keep of each text. `chats` says whether there is a chat template, and
    `takes_tools` whether it speaks of tools.
    """

    kind: str
    architecture: str
    quantization: str
    context_length: int
    layers: int
    heads: int
    embedding_length: int
    kv_heads: tuple[int, ...]
    key_length: int
    value_length: int
    sliding_window: int
    slides: tuple[bool, ...]
    state_bytes: int
    experts: int
    vocabulary: int
    pooling: int | None
    causal: bool
    chats: bool
    takes_tools: bool
    layer_bytes: tuple[int, ...]
    other_bytes: int

    @property
    def weight_bytes(self) -> int:
        """The bytes of all weights."""
        return sum(self.layer_bytes) + self.other_bytes

    def kv_bytes_per_token(self, bytes_per_number: float = 2) -> int:
        """Return the bytes that keys and values of one token take in all layers.

        Layers with a sliding window keep fewer tokens, so this is the most.
        """
        return round(sum(self.kv_heads) * (self.key_length + self.value_length) * bytes_per_number)

    def cache_bytes(self, tokens: int, texts: int) -> int:
        """Return the bytes of a cache for so many `tokens` of so many `texts` together."""
        if not self.causal:
            return 0
        within = min(tokens, self.sliding_window * texts + STEP)
        cells = sum(
            heads * (within if slides else tokens)
            for heads, slides in zip(self.kv_heads, self.slides, strict=True)
        )
        return cells * (self.key_length + self.value_length) * 2 + texts * self.state_bytes

    @property
    def checkpoint_bytes(self) -> int:
        """The most bytes of a copy of what is not kept for all tokens of a text; 0 if all is."""
        heads = sum(
            heads
            for heads, slides in zip(self.kv_heads, self.slides, strict=True)
            if slides or not any(self.slides)
        )
        windows = heads * self.sliding_window * (self.key_length + self.value_length) * 2
        return windows + self.state_bytes


def describe(path: Path) -> Gguf:
    """Return what the model in `path`, a whole file or the first of its parts, is.

    Raises:
        TaskError: BAD_REQUEST if it is damaged, not whole, or says impossible things.
        OSError: if it cannot be read.
    """
    key = []
    for file in parts_of(path):
        found = file.stat()
        key.append((file, found.st_ino, found.st_size, found.st_mtime_ns))
    return _describe(tuple(key))


@functools.lru_cache(maxsize=REMEMBERED)
def _describe(files: tuple[tuple[Path, int, int, int], ...]) -> Gguf:
    path = files[0][0]
    headers = [read_header(file) for file, *_ in files]
    if len(files) > 1:
        for number, header in enumerate(headers):
            said = (header.values.get("split.no"), header.values.get("split.count"))
            if said != (number, len(files)):
                what = "is not the part of a model that its name says"
                raise _refused(files[number][0], what)
    elif headers[0].values.get("split.count", 0) not in (0, 1):
        what = "is one part of a model, and its name does not say which"
        raise _refused(path, what, "give the parts their names back, NAME-00001-of-00002.gguf")
    return _Metadata(path, headers[0]).description(headers)


class _Metadata:
    """The values of the file `path`, checked as they are asked for."""

    def __init__(self, path: Path, header: Header) -> None:
        self._path = path
        self._values = header.values
        self._lengths = header.lengths
        self._architecture = self._text("general.architecture")

    def description(self, headers: list[Header]) -> Gguf:
        layers = self._count("block_count")
        if layers > MAX_LAYERS:
            raise _refused(self._path, f"says it has {layers} layers")
        heads = max(self._counts("attention.head_count", layers), default=0)
        embedding = self._count("embedding_length")
        per_head = embedding // heads if heads else 0
        kv_heads = self._counts("attention.head_count_kv", layers) or (heads,) * layers
        of_layers = [0] * layers
        others = 0
        for header in headers:
            for tensor in header.tensors:
                found = _LAYER.match(tensor.name)
                if found and int(found[1]) < layers:
                    of_layers[int(found[1])] += tensor.size
                else:
                    others += tensor.size
        template = self._text("tokenizer.chat_template")
        pooling = self._values.get(f"{self._architecture}.pooling_type")
        return Gguf(
            kind=self._text("general.type") or self._guessed_kind(),
            architecture=self._architecture,
            quantization=self._quantization(),
            context_length=self._count("context_length"),
            layers=layers,
            heads=heads,
            embedding_length=embedding,
            kv_heads=kv_heads,
            key_length=self._count("attention.key_length") or per_head,
            value_length=self._count("attention.value_length") or per_head,
            sliding_window=self._count("attention.sliding_window"),
            slides=self._slides(layers),
            state_bytes=state_bytes(self._count, kv_heads, heads, embedding),
            experts=self._count("expert_count"),
            vocabulary=self._lengths.get("tokenizer.ggml.tokens", 0),
            pooling=pooling if isinstance(pooling, int) else None,
            causal=self._values.get(f"{self._architecture}.attention.causal") is not False,
            chats=bool(template.strip()),
            takes_tools="tools" in template,
            layer_bytes=tuple(of_layers),
            other_bytes=others,
        )

    def _guessed_kind(self) -> str:
        """Return what a file is that was written before `general.type` was introduced."""
        if "adapter.type" in self._values:
            return "adapter"
        return "mmproj" if self._architecture == "clip" else "model"

    def _quantization(self) -> str:
        number = self._values.get("general.file_type")
        known = FILE_TYPES.get(number) if isinstance(number, int) else None
        return known or tag(self._path.name).upper() or "GGUF"

    def _slides(self, layers: int) -> tuple[bool, ...]:
        """Return which layers slide; none of those of which that is not known."""
        pattern = self._values.get(
            f"{self._architecture}.attention.sliding_window_pattern",
            PERIODS.get(self._architecture, 1),
        )
        if not self._count("attention.sliding_window"):
            return (False,) * layers
        if isinstance(pattern, list) and len(pattern) >= layers:
            return tuple(bool(each) for each in pattern[:layers])
        period = pattern if isinstance(pattern, int) and pattern >= 0 else 1
        return tuple(not period or layer % period < period - 1 for layer in range(layers))

    def _text(self, key: str) -> str:
        value = self._values.get(key, "")
        if not isinstance(value, str):
            raise _refused(self._path, f"has something else than text as {key}")
        return value

    def _count(self, key: str) -> int:
        value = self._values.get(f"{self._architecture}.{key}", 0)
        return self._checked(key, value)

    def _counts(self, key: str, layers: int) -> tuple[int, ...]:
        """Return one number for each layer: files have one for all, or an array of them."""
        value = self._values.get(f"{self._architecture}.{key}")
        if value is None:
            return ()
        if not isinstance(value, list):
            return (self._checked(key, value),) * layers
        if len(value) < layers:
            raise _refused(self._path, f"has {key} for {len(value)} layers, not {layers}")
        return tuple(self._checked(key, each) for each in value[:layers])

    def _checked(self, key: str, value: object) -> int:
        if not isinstance(value, int) or not 0 <= value < MOST:
            raise _refused(self._path, f"has an impossible {key}: {shown(value)}")
        return value


def _refused(
    path: Path, what: str, remedy: str = "copy or download it again, or choose another file"
) -> TaskError:
    return TaskError(pb.BAD_REQUEST, f"{shown(path.name)} {what}", remedy)
