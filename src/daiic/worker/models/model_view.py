"""What a library gets to see of a model: a folder of links to files that were checked, as it loads.

Code, pickles and adapters of other models are not in it. Configurations are
copies without what would fetch code or weights from elsewhere; an index of
shards may name safetensors beside it and nothing else.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec
import structlog

from daiic.bounded_file import read_bounded
from daiic.errors import TaskError
from daiic.worker.limits import LIMITS
from daiic.worker.models.adapters import CONFIG, WEIGHTS, adapters_of_model, folder_beside
from daiic.worker.models.checkpoint_files import (
    CONFIGURATION_SUFFIX,
    SUFFIX,
    check_header,
    unsafe_weights,
)
from daiic.worker.models.gguf.file_names import is_gguf
from daiic.worker.models.gguf.reader import read_header
from daiic.worker.models.model import Model
from daiic.worker.models.model_folder import Contents, survey
from daiic.worker.models.model_json import MAX_CONFIG, bad_file, read_json, read_object, shown

INDEX = ".index."
"""In the names of files that say which shard has which tensor."""
LINKED = ("tokenizer.json", "vocab.json")
"""JSON for the tokenizers library, which has bounds of its own: not parsed here."""
LEFT_OUT = ("adapter_config.json",)
"""With peft installed, transformers would load the base model that it names, from anywhere."""
ELSEWHERE = frozenset(
    {
        "attn_implementation",
        "_attn_implementation",
        "_attn_implementation_internal",
        "experts_implementation",
        "_experts_implementation",
        "_experts_implementation_internal",
        "use_pretrained_backbone",
        "use_kernels",
    }
)
"""Keys of configurations that can name native code or weights to fetch from Hugging Face."""
FILES = ("_file", "_files")
"""How the keys of a tokenizer's configuration end that name files to open, wherever they are."""
MAX_TEMPLATE = LIMITS.template
MAX_TOKENIZER_CONFIG = LIMITS.tokenizer_config
MAX_INDEX = LIMITS.index
MAX_VOCABULARY = LIMITS.vocabulary
"""Bytes; the largest published are some 30 KB, 6 MB, 16 MB and 35 MB."""


log = structlog.get_logger()


class _Index(msgspec.Struct):
    weight_map: dict[str, str]


@contextmanager
def checked_view(model: Model) -> Iterator[Path]:
    """Give the path at which `model` can be loaded; it is gone afterwards.

    Raises:
        TaskError: UNSAFE_WEIGHTS if parts of it have only pickled weights, else
            BAD_REQUEST for files that must not or cannot be loaded.
        OSError: if its files cannot be read or links to them not be made.
    """
    contents = model.contents()
    with tempfile.TemporaryDirectory(prefix="daiic-model-") as place:
        path = Path(place) / PurePosixPath(model.name).name
        if is_gguf(model.path.name) and not model.path.is_dir():
            path = _link_gguf(model, contents, Path(place))
        elif not model.path.is_dir():
            path.symlink_to(contents.files[model.path.name])
            check_header(path)
            beside = model.path.with_suffix(CONFIGURATION_SUFFIX)
            if beside.is_dir():
                configuration = survey(beside, beside.name, model.within or beside)
                _link(configuration, beside, path.with_suffix(CONFIGURATION_SUFFIX), beside.name)
        else:
            _check_parts(model, contents)
            _link(contents, model.path, path, model.name)
        if not is_gguf(model.path.name) or model.path.is_dir():
            _link_adapters(model, path)
        yield path


def _link_gguf(model: Model, contents: Contents, place: Path) -> Path:
    """Make links to the checked files of `model` in `place`, and return its first part's."""
    for name, real in contents.files.items():
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).symlink_to(real)
        read_header(place / name)
    return place / model.path.name


def _link_adapters(model: Model, path: Path) -> None:
    """Make links to, or copies of, the files of the adapters of `model`, beside `path`.

    What is wrong with one of them is no reason to do without the others, or the model.
    """
    for name, adapter in adapters_of_model(model).items():
        place = folder_beside(path) / name
        try:
            contents = survey(adapter, name, model.within or adapter)
            if adapter.is_dir():
                weights = contents.files[WEIGHTS]
                check_header(weights)
                place.mkdir(parents=True)
                (place / CONFIG).write_text(_cleaned(adapter / CONFIG, name), "utf-8")
                (place / WEIGHTS).symlink_to(weights)
            else:
                real = contents.files[adapter.name]
                check_header(real)
                place.parent.mkdir(exist_ok=True)
                place.with_name(adapter.name).symlink_to(real)
        except (TaskError, KeyError) as error:
            log.warning(
                "an adapter cannot be used", model=model.name, adapter=name, reason=str(error)
            )


def _link(contents: Contents, source: Path, path: Path, model: str) -> None:
    """Make links to, or copies of, the files `contents` of the folder `source` in `path`."""
    for name, real in contents.files.items():
        file = path / name
        if file.name in LEFT_OUT or f".bin{INDEX}" in file.name:
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.name.endswith(SUFFIX):
            check_header(real)
        elif INDEX in file.name:
            _check_index(source, PurePosixPath(name), contents, model)
        elif file.suffix == ".json" and file.name not in LINKED:
            file.write_text(_cleaned(source / name, model), "utf-8")
            continue
        elif real.stat().st_size > (MAX_TEMPLATE if file.suffix == ".jinja" else MAX_VOCABULARY):
            raise bad_file(source / name, "is too large", model)
        file.symlink_to(real)


def _cleaned(file: Path, model: str) -> str:
    """Return the JSON of the configuration `file` without what leads out of the model."""
    is_tokenizer = file.name == "tokenizer_config.json"
    config = read_json(file, MAX_TOKENIZER_CONFIG if is_tokenizer else MAX_CONFIG, model)
    if isinstance(config, dict):
        template = config.get("chat_template")
        if isinstance(template, str) and len(template) > MAX_TEMPLATE:
            raise bad_file(file, "has a chat template that is too large", model)
        weights = config.get("transformers_weights")
        if isinstance(weights, str) and weights != PurePosixPath(weights).name:
            raise bad_file(file, f"names weights outside of the model: {shown(weights)}", model)
        if is_tokenizer:
            config = {key: value for key, value in config.items() if not key.endswith(FILES)}
    try:
        return json.dumps(without(config, ELSEWHERE))
    except RecursionError:
        raise bad_file(file, "is nested too deeply", model) from None


def without(value: Any, keys: frozenset[str]) -> Any:
    """Return the JSON `value` without `keys`, at any depth."""
    if isinstance(value, dict):
        return {key: without(item, keys) for key, item in value.items() if key not in keys}
    return [without(item, keys) for item in value] if isinstance(value, list) else value


def _check_index(source: Path, name: PurePosixPath, contents: Contents, model: str) -> None:
    file = source / name
    try:
        content = read_bounded(contents.files[str(name)], MAX_INDEX)
        shards = set(msgspec.json.decode(content, type=_Index).weight_map.values())
    except (msgspec.DecodeError, RecursionError):
        raise bad_file(file, "is not an index of weights", model) from None
    except OSError as error:
        raise bad_file(file, f"cannot be read: {error.strerror}", model) from None
    for shard in shards:
        if not shard.endswith(SUFFIX) or shard != PurePosixPath(shard).name:
            what = f"names weights that are no {SUFFIX} beside it: {shown(shard)}"
            raise bad_file(file, what, model)
        if str(name.parent / shard) not in contents.files:
            raise bad_file(file, f"names weights that are not there: {shown(shard)}", model)


def _check_parts(model: Model, contents: Contents) -> None:
    """Refuse a pipeline with a part whose weights are pickled only."""
    index = read_object(model.path / "model_index.json") or {}
    parts = {k for k, value in index.items() if isinstance(value, list) and value and value[0]}
    safe = {PurePosixPath(name).parts[0] for name in contents.weights}
    pickled = [name for name in contents.pickled if PurePosixPath(name).parts[0] in parts - safe]
    if pickled:
        raise unsafe_weights(model.name, pickled)
