"""Makes model folders of any content; a worker lists, refuses or shows them, and nothing else.

By hand: `python tests/fuzz/driver.py model_folders --coverage 900` (see there). An input is a
row of choices.
"""

import json
import os
import struct
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from daiic.errors import TaskError
from daiic.model_names import GGUF
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_embedding import recipe
from daiic.worker.engines.transformers_reranking import recipe as ranking
from daiic.worker.models.catalog import Catalog
from daiic.worker.models.checkpoint_files import PICKLED
from daiic.worker.models.gguf.reader import read_header
from daiic.worker.models.model import Model
from daiic.worker.models.model_folder import OPENED
from daiic.worker.models.model_view import ELSEWHERE, LINKED, checked_view, without
from daiic.worker.models.repository_files import choose_files
from fuzz.choices import BYTES, SAMPLES, Choices
from support.models.hostile_gguf import gguf, key, tensor, value

NAMES = [
    "config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
    "chat_template.jinja",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "model_index.json",
    "unet/config.json",
    "unet/model.safetensors",
    "unet/model.safetensors.index.json",
    "unet/model.bin",
    "vae/model.bin",
    "adapter_config.json",
    "modeling.py",
    "model-Q4_K_M.gguf",
    "model-Q8_0.gguf",
    "model-Q8_0-00001-of-00002.gguf",
    "model-Q8_0-00002-of-00002.gguf",
    "mmproj-F16.gguf",
    "model.draft.gguf",
    "model.adapters/style.gguf",
    "a/b/c/d.json",
    ".hidden.json",
]
KEYS = [
    "architectures",
    "is_encoder_decoder",
    "weight_map",
    "metadata",
    "type",
    "path",
    "max_seq_length",
    "id2label",
    "activation_fn",
    "sentence_transformers",
    "matryoshka_dimensions",
    "truncate_dim",
    "prompts",
    "default_prompt_name",
    "pooling_mode_mean_tokens",
    "pooling_mode_cls_token",
    "transformers_weights",
    "chat_template",
    "vocab_file",
    "auto_map",
    "unet",
    "vae",
    "_class_name",
    "dtype",
    "shape",
    "data_offsets",
    "w",
    "\ud800",
    *sorted(ELSEWHERE),
]
GGUF_KEYS = [
    "general.type",
    "general.file_type",
    "general.alignment",
    "split.no",
    "split.count",
    "llama.block_count",
    "llama.context_length",
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.pooling_type",
    "tokenizer.ggml.tokens",
    "tokenizer.chat_template",
    "adapter.type",
]
SCALARS = [
    "LlamaForCausalLM",
    ["LlamaForCausalLM"],
    ["BertForSequenceClassification"],
    ["BertModel"],
    "model.safetensors",
    "model.bin",
    "sentence_transformers.models.Pooling",
    "sentence_transformers.models.Transformer",
    "1_Pooling",
    "diffusers",
    ["diffusers", "UNet2DConditionModel"],
    "F32",
    [2],
    [0, 8],
    {"w": "model.safetensors"},
]
FORMS = ["owner", "name", "..", "", ".", "a b", "x\x1b", "models--a", *NAMES]


def fill(folder: Path, outside: Path, choices: Choices) -> None:
    """Write files of `choices` into `folder`."""
    for _ in range(choices.number(8) + 1):
        file = folder / choices.pick(NAMES)
        with suppress(FileExistsError, NotADirectoryError):  # another choice had its folder's name
            file.parent.mkdir(parents=True, exist_ok=True)
            if not os.path.lexists(file):
                _write(file, outside, choices)


def _write(file: Path, outside: Path, choices: Choices) -> None:
    kind = choices.number(16)
    if kind == 0:
        os.mkfifo(file)
    elif kind == 1:
        file.mkdir()
    elif kind == 2:
        outside.mkdir(exist_ok=True)
        (outside / file.name).write_text("{}")
        file.symlink_to(
            choices.pick([outside / file.name, "nowhere", file.name, "/dev/zero", ".."])
        )
    elif kind == 3:
        with file.open("wb") as huge:
            huge.truncate(1 << 40)
    elif kind == 4:
        file.write_bytes(choices.raw(600))
    elif kind == 5:
        file.write_bytes(
            choices.pick([b"[", b'{"a":', b"[{", b"\xff", b"9"]) * choices.number(9999)
        )
    elif file.name.endswith(".safetensors"):
        text = json.dumps(choices.value(KEYS, SCALARS)).encode()
        length = choices.pick([len(text), len(text), 0, 1, len(text) + 9, 1 << 30, (1 << 64) - 1])
        file.write_bytes(struct.pack("<Q", length) + text + bytes(choices.number(9)))
    elif file.suffix == GGUF:
        file.write_bytes(_gguf(choices))
    else:
        file.write_text(json.dumps(choices.value(KEYS, SCALARS)), "utf-8")


def _gguf(choices: Choices) -> bytes:
    """Return a file whose beginning is that of a GGUF, with entries of `choices`."""
    entries = [value("general.architecture", choices.pick(["llama", "clip", "bert", "", "\x1b"]))]
    for _ in range(choices.number(6)):
        name = choices.pick(GGUF_KEYS)
        number = choices.pick([0, 1, 2, 15, 40, 1 << 31, (1 << 32) - 1])
        entries.append(
            choices.pick(
                [
                    value(name, number),
                    value(name, choices.pick(["model", "adapter", "{{ tools }}", "\x1b[2J", ""])),
                    key(name, 9, struct.pack("<IQ", choices.pick([4, 8, 9, 99]), number)),
                    key(name, choices.number(14), choices.raw(20)),
                ]
            )
        )
    shape = tuple(choices.pick([1, 32, 256, 1 << 40]) for _ in range(choices.number(5)))
    place = choices.pick([0, 32, 4, 1 << 63])
    tensors = [
        tensor(choices.pick(["blk.0.w", "blk.9999.w", "w"]), shape, choices.number(45), place)
    ]
    return gguf(*entries, version=choices.pick([3, 3, 3, 2, 1, 0]), tensors=tensors, weights=2048)


def check(error: TaskError) -> None:
    """Assert that a refusal can be logged, sent and put into heartbeats."""
    assert error.code in (pb.BAD_REQUEST, pb.UNSAFE_WEIGHTS, pb.MODEL_NOT_FOUND), error
    assert error.message and error.remedy and len(error.message) < 1000
    assert error.message.isprintable(), error.message
    pb.ModelStatus(detail=error.message).SerializeToString()


def look_at(model: Model, root: Path) -> None:
    """Assert that what a library would see of `model` is what it may see."""
    with checked_view(model) as path:
        files = (
            [path] if path.is_file() else [file for file in path.rglob("*") if not file.is_dir()]
        )
        for file in files:
            assert file.suffix in (*OPENED, GGUF) and file.suffix not in PICKLED, file
            assert file.is_file(), file
            if file.suffix == GGUF:
                assert read_header(file).weights_at
            if file.is_symlink():
                assert file.resolve().is_relative_to(root.resolve()), file
            if ".index." in file.name:
                for shard in json.loads(file.read_bytes())["weight_map"].values():
                    assert (file.parent / shard).suffix == ".safetensors"
                    assert (file.parent / shard).parent == file.parent, shard
                    assert (file.parent / shard).is_file(), shard
            elif file.suffix == ".json" and file.name not in LINKED:
                content: Any = json.loads(file.read_bytes())
                assert json.dumps(without(content, ELSEWHERE)) == json.dumps(content)
        if model.kind == pb.EMBEDDING and path.is_dir():
            assert recipe.read(path).max_tokens != 0
        if model.kind == pb.RERANKING and path.is_dir():
            assert ranking.read(path).max_tokens != 0


WORDS = BYTES
__all__ = ["SAMPLES", "WORDS", "target"]


def one(data: bytes) -> None:
    """Make a models folder and a cache of `data` and look at all that is in them."""
    choices = Choices(data)
    shelf = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=shelf) as place:
        root = Path(place)
        outside = root / "outside"
        models, cache = root / "models", root / "cache"
        snapshot = cache / "models--owner--cached" / "snapshots" / "abc"
        for folder in (models / "one", models / "two" / choices.pick(["three", "x\x1b"]), snapshot):
            fill(folder, outside, choices)
        fill(models, outside, choices)
        catalog = Catalog(models, cache)
        with structlog.testing.capture_logs() as logs:
            listed = catalog.scan()
        for entry in logs:
            assert all(str(value).isprintable() for value in entry.values()), entry
        assert not {model.name for model in listed} & set(catalog.unusable)
        for name, reason in catalog.unusable.items():
            pb.ModelStatus(name=name, detail=reason).SerializeToString()
        names = [*(model.name for model in listed), *catalog.unusable, "one", "two/three"]
        for name in (*names, "model.safetensors", choices.pick(FORMS)):
            try:
                model = catalog.find(name) or catalog.downloaded(name)
                if model is not None:
                    look_at(
                        model, root / "models" if model.within == models else snapshot.parents[1]
                    )
            except TaskError as error:
                check(error)
    try:
        separators = ["/", "//", "/", "\0"]
        files = [
            choices.pick(FORMS) + choices.pick(separators) + choices.pick(FORMS)
            for _ in range(choices.number(8))
        ] + [choices.pick(NAMES) for _ in range(choices.number(8))]
        chosen = choose_files("owner/name", files)
        assert not any(file.endswith((*PICKLED, ".py")) for file in chosen.texts + chosen.weights)
    except TaskError as error:
        check(error)


def target() -> Callable[[bytes], None]:
    """Return what takes one input."""
    return one
