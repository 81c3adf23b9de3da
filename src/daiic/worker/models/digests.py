"""Digests that tell whether two copies of a model are the same, wherever their files lie.

Reading all of a large model takes minutes, so its weights are sampled: their
names, sizes and headers count whole, of their content SAMPLES blocks of BLOCK
bytes, evenly spaced. Up to SAMPLES * BLOCK bytes (64 MiB) that is everything.
Beyond that, a tensor that is longer than the space between two blocks
(1/SAMPLES of the model: 3.4 MB of 14 GB) has a block in it, so that another
fine-tune of the same shape has another digest. What is changed between blocks
is not seen, so this does not protect against people who want to deceive.
"""

import errno
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import structlog

from daiic.errors import TaskError
from daiic.model_names import GGUF
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS
from daiic.worker.models.adapters import adapters_of_model, files_of, scale_of
from daiic.worker.models.checkpoint_files import SUFFIX, check_header
from daiic.worker.models.gguf.file_names import is_gguf
from daiic.worker.models.gguf.files import parts_of
from daiic.worker.models.gguf.reader import read_header
from daiic.worker.models.model import Model
from daiic.worker.models.repository_files import choose_files

SAMPLES = 4096
BLOCK = 16 << 10
MAX_FILE = LIMITS.vocabulary
PIECE = 1 << 20
"""Bytes of a file that are read at once where all of it counts."""

TOKENIZER_FILES = frozenset(
    {
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "merges.txt",
        "preprocessor_config.json",
        "processor_config.json",
        "sentencepiece.bpe.model",
        "special_tokens_map.json",
        "spiece.model",
        "tokenizer.json",
        "tokenizer.model",
        "tokenizer_config.json",
        "vocab.json",
        "vocab.txt",
    }
)
"""What makes tokens of texts, and of images and recordings, which are cut and scaled first."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Digests:
    """Hexadecimal SHA-256 of a model's weights and of its tokenizer's files; empty if unknown."""

    weights: str = ""
    tokenizer: str = ""
    adapters: Mapping[str, str] = field(default_factory=dict)
    """Those of the adapters' weights, by their names."""

    def with_adapters(self, adapters: Iterable[pb.Adapter]) -> str:
        """Return that of the weights as `adapters` change them, empty if it is not known."""
        scaled = [(adapter.name, scale_of(adapter)) for adapter in adapters]
        if not scaled or not self.weights:
            return self.weights
        digest = hashlib.sha256(self.weights.encode())
        for name, scale in scaled:
            if name not in self.adapters:
                return ""
            digest.update(f"\0{self.adapters[name]}\0{scale!r}".encode())
        return digest.hexdigest()


def digests_of(model: Model) -> Digests:
    """Return the digests of the files of `model` as they are now; blocks, reading some 64 MiB.

    They are empty if the files cannot be read.
    """
    try:
        adapters = {
            name: _sampled({f"{n}{file.suffix}": file for n, file in enumerate(files_of(adapter))})
            for name, adapter in adapters_of_model(model).items()
        }
        files = model.contents().files
        if is_gguf(model.path.name) and not model.path.is_dir():
            return replace(_of_gguf(parts_of(model.path)), adapters=adapters)
        if not model.path.is_dir():
            # What a single file is called says nothing about it.
            named = {PurePosixPath(name).suffix: file for name, file in files.items()}
            return Digests(_sampled(named), adapters=adapters) if named else Digests()
        chosen = choose_files(model.name, files)
        texts = [name for name in chosen.texts if PurePosixPath(name).name in TOKENIZER_FILES]
        return Digests(
            _sampled({name: files[name] for name in chosen.weights}),
            _whole((name, files[name]) for name in texts),
            adapters,
        )
    except (OSError, TaskError) as error:
        log.warning("a model's identity is unknown", model=model.name, reason=str(error))
        return Digests()


def _of_gguf(parts: list[Path]) -> Digests:
    """Return the digests of a model in GGUF files; its tokenizer is in the first one."""
    header = read_header(parts[0])
    tokenizer = hashlib.sha256()
    with parts[0].open("rb") as file:
        for key, (start, end) in sorted(header.places.items()):
            if key.startswith("tokenizer."):
                tokenizer.update(os.pread(file.fileno(), end - start, start))
    return Digests(
        # What the files are called says nothing about them, but their order does.
        _sampled({f"{number:05d}{GGUF}": part for number, part in enumerate(parts)}),
        tokenizer.hexdigest(),
    )


def _sampled(files: Mapping[str, Path]) -> str:
    sizes = {name: file.stat().st_size for name, file in files.items()}
    spacing = max(-(-sum(sizes.values()) // SAMPLES), BLOCK)
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        digest.update(f"{name}\0{sizes[name]}\0".encode())
        with file.open("rb") as content:
            digest.update(content.read(_header_length(name, file)))
            for start in range(0, sizes[name], spacing):
                digest.update(os.pread(content.fileno(), BLOCK, start))
    return digest.hexdigest()


def _header_length(name: str, file: Path) -> int:
    if name.endswith(GGUF):
        return read_header(file).weights_at
    return 8 + check_header(file) if name.endswith(SUFFIX) else 8


def _whole(files: Iterable[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(files):
        size = file.stat().st_size
        if size > MAX_FILE:
            raise OSError(errno.EFBIG, f"{name} is too large")
        digest.update(f"{name}\0{size}\0".encode())
        with file.open("rb") as content:
            while piece := content.read(PIECE):
                digest.update(piece)
    return digest.hexdigest()
