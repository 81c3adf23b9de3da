"""How a sentence embedding is made of a model's hidden states, as its publisher says.

Read from the files that sentence-transformers writes beside the weights:
modules.json, the pooling module's config.json, sentence_bert_config.json.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.text_batches import published_limit
from daiic.worker.engines.transformers_embedding import dimensions
from daiic.worker.engines.transformers_embedding import prompts as prompt_files
from daiic.worker.engines.transformers_embedding.dimensions import Dimensions
from daiic.worker.engines.transformers_embedding.prompts import Prompts
from daiic.worker.models.model_json import bad_file, read_json, read_object, shown

Pooling = Literal["mean", "cls", "max", "lasttoken"]

_FLAGS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
}


NORMALIZE = "normalize"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Which hidden states count, and what is done before and after.

    One of `prompts` comes before every input; its own hidden states count if
    `pools_prompt`. `after` are the steps after pooling, in order: NORMALIZE, or
    the folder of a linear layer. `dimensions` says to what vectors may be cut.
    `max_tokens` is the most that the model knows.
    """

    pooling: Pooling = "mean"
    after: tuple[str | Path, ...] = (NORMALIZE,)
    max_tokens: int | None = None
    prompts: Prompts = field(default_factory=Prompts)
    pools_prompt: bool = True
    dimensions: Dimensions = field(default_factory=Dimensions)


def read(path: Path) -> Recipe:
    """Return the recipe in the model directory `path`, or mean and length 1 if it has none.

    Raises:
        TaskError: BAD_REQUEST for steps that are not known, or files that do not say what to do.
    """
    modules = read_json(path / "modules.json")
    if modules is None:
        return Recipe(prompts=prompt_files.read(path), dimensions=dimensions.read(path))
    if not isinstance(modules, list):
        raise bad_file(path / "modules.json", "is not a list of steps")
    pooling: Pooling = "mean"
    pools_prompt = True
    after: list[str | Path] = []
    for module in modules:
        step, folder = _step(path / "modules.json", module)
        if step == "Pooling":
            config = read_object(path / folder / "config.json") or {}
            pooling = _pooling(path, config)
            pools_prompt = config.get("include_prompt") is not False
        elif step == "Normalize":
            after.append(NORMALIZE)
        elif step == "Dense" and folder:
            after.append(path / folder)
        elif step != "Transformer":
            raise _unknown(path, f'a step "{shown(step)}"')
    return Recipe(
        pooling,
        tuple(after),
        published_limit(path),
        prompt_files.read(path),
        pools_prompt,
        dimensions.read(path),
    )


def _step(file: Path, module: object) -> tuple[str, str]:
    """Return the kind of a step and the name of its folder, which is empty for the model's own."""
    kind, folder = (None, None)
    if isinstance(module, dict):
        kind, folder = module.get("type"), module.get("path")
    if not isinstance(kind, str) or not isinstance(folder, str):
        raise bad_file(file, "has a step without a type and a path")
    if folder != Path(folder).name:
        raise bad_file(file, f"has a step outside of the model ({shown(folder)})")
    return kind.rpartition(".")[2], folder


def _pooling(path: Path, config: dict[str, Any]) -> Pooling:
    modes = [name for name, value in config.items() if name.startswith("pooling_mode_") and value]
    if len(modes) != 1 or modes[0] not in _FLAGS:
        raise _unknown(path, f"pooling {shown(' and '.join(modes)) or 'that it does not name'}")
    return _FLAGS[modes[0]]


def _unknown(path: Path, what: str) -> TaskError:
    return TaskError(
        pb.BAD_REQUEST,
        f"{path.name} makes its embeddings with {what}, which is not supported",
        f"choose a model that pools by one of {', '.join(_FLAGS.values())} and has no other steps "
        "than Dense and Normalize; docs/models.md has a table of families",
    )
