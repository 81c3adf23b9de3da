"""Where a pipeline comes from: a directory in diffusers' layout, or a single checkpoint file.

A checkpoint file NAME.safetensors holds weights and no configuration. That is taken from the folder
NAME.config beside it or, for the kinds that diffusers knows, from Hugging Face through its cache.
"""

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import fetch_diffusers_config
from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]
from safetensors import SafetensorError, safe_open

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.diffusers.configuration import check_configurations
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.torch.configuration_bounds import kept_within
from daiic.worker.engines.torch.errors import is_out_of_memory
from daiic.worker.models.checkpoint_files import CONFIGURATION_SUFFIX, PICKLED, SUFFIX
from daiic.worker.models.download_errors import explained
from daiic.worker.models.model_json import read_object
from daiic.worker.models.repository_files import VARIANTS, choose_files

CONFIGURATION = ("*.json", "*.txt", "*.model")
"""Files without weights: what `from_single_file` needs besides the checkpoint."""
PRECISION = (
    "dtype" if tuple(map(int, diffusers.__version__.split(".")[:2])) >= (0, 40) else "torch_dtype"
)
"""What diffusers calls the precision to load in; 0.40 took another name and warns of the old."""
UNET = "model.diffusion_model."
"""How a Stable Diffusion checkpoint's UNet begins its names."""


@dataclass(frozen=True, slots=True)
class Source:
    """A folder with model_index.json; with the weights too, unless there is a `checkpoint`."""

    name: str
    configuration: Path
    checkpoint: Path | None
    index: dict[str, Any]

    @property
    def files(self) -> list[Path]:
        """The files with weights that loading will read, in no order."""
        if self.checkpoint is not None:
            return [self.checkpoint]
        parts = (self.configuration / part for part in self.parts())
        return [file for part in parts for file in part.glob(f"*{SUFFIX}")]

    def parts(self) -> list[str]:
        """The names of the pipeline's parts that its index does not leave out."""
        return [
            name
            for name, value in self.index.items()
            if name.isidentifier() and isinstance(value, list) and len(value) == 2 and value[0]
        ]

    def parameters(self) -> int:
        """How many numbers the weights are; a variant beside another counts once.

        Raises:
            TaskError: BAD_REQUEST if a file is damaged.
        """
        return sum(
            torch.Size(shape).numel() for file in self._counted() for shape in shapes(file).values()
        )

    def _counted(self) -> list[Path]:
        """The weights in one variant, and without what lies beside them for training."""
        if self.checkpoint is not None or not self.files:
            return self.files
        names = [str(file.relative_to(self.configuration)) for file in self.files]
        chosen = choose_files(self.name, ["model_index.json", *names])
        return [self.configuration / name for name in chosen.weights]

    def _variant(self) -> str | None:
        """The precision in the names of weights that lie beside the plain ones, or instead."""
        names = [file.name for file in self.files]
        found = (v for v in VARIANTS if v and any(f".{v}" in name for name in names))
        return next(found, None)

    def load(self, dtype: torch.dtype) -> Any:
        """Return the pipeline on the CPU with its weights as `dtype`; reads only safetensors.

        Raises:
            TaskError: UNSAFE_WEIGHTS or BAD_REQUEST if it cannot be loaded.
        """
        kinds = {part: self.index[part][1] for part in self.parts()}
        check_configurations(self.name, self.configuration, kinds)
        try:
            with kept_within(self.parameters() * 2, self.name):  # some weights are shared
                return self._load(dtype)
        except Exception as error:
            if isinstance(error, TaskError) or is_out_of_memory(error):
                raise
            raise self._failure(error) from error

    def _load(self, dtype: torch.dtype) -> Any:
        if self.checkpoint is None:
            return diffusers.DiffusionPipeline.from_pretrained(
                self.configuration,
                use_safetensors=True,
                local_files_only=True,
                variant=self._variant(),
                **{PRECISION: dtype},
            )
        return self._load_checkpoint(self.checkpoint, dtype)

    def _load_checkpoint(self, checkpoint: Path, dtype: torch.dtype) -> Any:
        pipeline: Any = getattr(diffusers, str(self.index.get("_class_name")), None)
        if not hasattr(pipeline, "from_single_file"):
            raise TaskError(
                pb.BAD_REQUEST,
                f"{self.name} is for {self.index.get('_class_name')}, which loads no single files",
                "put the model into a folder in diffusers' layout",
            )
        # A copy without weights: diffusers would take parts that the checkpoint lacks from there,
        # pickled ones too.
        with tempfile.TemporaryDirectory(prefix="daiic-config-") as copy:
            shutil.copytree(self.configuration, copy, dirs_exist_ok=True, ignore=_all_but_texts)
            loaded = pipeline.from_single_file(
                str(checkpoint), config=copy, local_files_only=True, **{PRECISION: dtype}
            )
        for name, part in loaded.components.items():
            if isinstance(part, torch.nn.Module):
                self._complete(name, part)
        return loaded

    def _complete(self, name: str, part: Any) -> None:
        """Share weights that the checkpoint has once, and end training; refuse what is not whole.

        diffusers leaves both undone for T5: without this its dropout is at work in every image.
        """
        part.eval()
        if hasattr(part, "tie_weights"):
            part.tie_weights()
        missing = next((key for key, weight in part.named_parameters() if weight.is_meta), None)
        if missing:
            raise TaskError(
                pb.BAD_REQUEST,
                f"{self.name} lacks weights of its {name} ({missing})",
                "get the whole model: a single file must hold the text encoders and autoencoder "
                "too; or put it into a folder in diffusers' layout",
            )

    def _failure(self, error: Exception) -> TaskError:
        folder = self.configuration if self.checkpoint is None else None
        parts = [folder / part for part in self.parts()] if folder else []
        pickled = [
            f"{part.name}/{file.name}"
            for part in parts
            if not list(part.glob(f"*{SUFFIX}"))
            for file in sorted(part.glob("*"))
            if file.suffix in PICKLED
        ]
        if pickled:
            return TaskError(
                pb.UNSAFE_WEIGHTS,
                f"{self.name} has pickled weights, which could run any code ({pickled[0]})",
                f"get the model with {SUFFIX} weights, or convert it",
            )
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        kind = self.index.get("_class_name")
        if not hasattr(diffusers, str(kind)):
            reason = f"diffusers {diffusers.__version__} does not know this kind"
        elif "meta tensor" in reason:  # what torch calls a weight that was never given a value
            reason = "it lacks weights"
        return TaskError(
            pb.BAD_REQUEST,
            f"{self.name} cannot be loaded as {kind}: {reason}",
            "get the whole model again, as a folder in diffusers' layout; docs/models.md has a "
            "table of families that run",
        )


def find_source(path: Path, options: LoadOptions) -> Source:
    """Return what the pipeline at `path` is loaded from; may download a checkpoint's configuration.

    Raises:
        TaskError: BAD_REQUEST if there is no pipeline, or one that brings code
            of its own; MODEL_NOT_FOUND and the errors of a download where a
            checkpoint's configuration cannot be had.
    """
    checkpoint = path if path.is_file() else None
    configuration = _configuration(path, options) if checkpoint else path
    index = _read_index(configuration, path.name)
    source = Source(path.name, configuration, checkpoint, index)
    own_code = not isinstance(index.get("_class_name"), str) or any(
        not _is_installed(index[part][0])
        or (configuration / part / f"{index[part][0]}.py").exists()
        for part in source.parts()
    )
    if own_code:
        raise TaskError(
            pb.BAD_REQUEST,
            f"{path.name} is a pipeline with its own code, which workers do not run",
            "use a pipeline of diffusers' own",
        )
    return source


def _is_installed(library: object) -> bool:
    """Return whether an index may name `library`: diffusers imports it, or a file of that name."""
    if library in ("diffusers", "transformers"):
        return True
    return isinstance(library, str) and hasattr(diffusers.pipelines, library)


def shapes(file: Path) -> dict[str, list[int]]:
    """Return the shape of every tensor in a .safetensors file; reads its header only.

    Raises:
        TaskError: BAD_REQUEST if it is damaged.
    """
    try:
        with safe_open(file, framework="pt") as tensors:
            return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise TaskError(
            pb.BAD_REQUEST, f"{file.name} is not a whole {SUFFIX} file: {error}", "copy it again"
        ) from error


def _configuration(checkpoint: Path, options: LoadOptions) -> Path:
    beside = checkpoint.with_suffix(CONFIGURATION_SUFFIX)
    if beside.is_dir():
        return beside
    sizes = shapes(checkpoint)
    repository = fetch_diffusers_config(
        {name: torch.empty(shape, device="meta") for name, shape in sizes.items()}
    )["pretrained_model_name_or_path"]
    known = "stable-diffusion-v1" not in repository or any(name.startswith(UNET) for name in sizes)
    if not known:  # the kind that diffusers takes for what it does not know
        raise TaskError(
            pb.BAD_REQUEST,
            f"{checkpoint.name} is not a checkpoint of an image pipeline",
            "a single file must hold the whole model: UNet, autoencoder and text encoder",
        )
    cache = (options.cache_dir or Path(constants.HF_HUB_CACHE)).expanduser()
    try:
        return _from_cache_or_hub(repository, cache, options)
    except (HTTPError, OSError, ValueError) as error:
        if options.allow_downloads:
            raise explained(repository, cache, options.token is not None, error) from None
        raise TaskError(
            pb.MODEL_NOT_FOUND,
            f"{checkpoint.name} needs the configuration of {repository}, which is not on this disk",
            f"set allow_downloads = true, or put that configuration into {beside.name} beside it",
        ) from None


def _from_cache_or_hub(repository: str, cache: Path, options: LoadOptions) -> Path:
    folders = [f"*/{pattern}" for pattern in CONFIGURATION]
    return Path(
        snapshot_download(
            repository,
            cache_dir=cache,
            allow_patterns=[*CONFIGURATION, *folders],
            local_files_only=not options.allow_downloads,
            token=options.token,
        )
    )


def _read_index(configuration: Path, name: str) -> dict[str, Any]:
    index = read_object(configuration / "model_index.json")
    if index is None:
        raise TaskError(
            pb.BAD_REQUEST,
            f"{name} is not an image pipeline: it has no model_index.json",
            f"a folder needs diffusers' layout, a single file NAME{SUFFIX} a folder NAME.config",
        )
    return index


def _all_but_texts(folder: str, names: list[str]) -> set[str]:
    kept = tuple(pattern.removeprefix("*") for pattern in CONFIGURATION)
    return {name for name in names if not (Path(folder, name).is_dir() or name.endswith(kept))}
