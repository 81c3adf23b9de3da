"""Which GGUF models folders offer, and under which names."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from daiic.model_names import GGUF
from daiic.worker.models.checkpoint_files import SUFFIX, is_file
from daiic.worker.models.entries import entries
from daiic.worker.models.gguf.file_names import base, is_companion, tag, whole_name


def models_in(files: Iterable[str]) -> dict[str, str]:
    """Return the model files among the GGUF `files`, by what they are called when whole.

    Of a split model that is the first part that is there.
    """
    found: dict[str, str] = {}
    for file in sorted(files):
        whole = whole_name(file)
        if not is_companion(file) and (whole not in found or file == whole):
            found[whole] = file
    return found


def quantizations(files: Iterable[str]) -> dict[str, str]:
    """Return the model files among the GGUF `files` of a repository, by what comes after its colon.

    That is the quantisation, or the name of a file that has none of its own.
    """
    found = models_in(files)
    tags = Counter(tag(whole).upper() for whole in found)
    return {
        tag(whole)
        if tag(whole) and tags[tag(whole).upper()] == 1
        else PurePosixPath(whole).name.removesuffix(GGUF): file
        for whole, file in found.items()
    }


def local_models(models_dir: Path, unusable: dict[str, str]) -> dict[str, Path]:
    """Return the GGUF files in `models_dir` and one folder down that may be models, by name.

    A folder of one model is `FOLDER:Q4_K_M`, `FOLDER:Q8_0` and so on; the files
    of others go by their own names.
    """
    found: dict[str, Path] = {}
    here = entries(models_dir, unusable)
    for name, file in models_in(_names(here)).items():
        found[name] = models_dir / file
    for folder in here:
        inner = entries(folder, unusable)
        if is_gguf_folder(folder, inner):
            files = models_in(_names(inner))
            tags = {tag(whole).upper() for whole in files}
            is_one = len({base(whole) for whole in files}) == 1 and len(tags - {""}) == len(files)
            for whole, file in files.items():
                name = f"{folder.name}:{tag(whole)}" if is_one else f"{folder.name}/{whole}"
                found[name] = folder / file
    return found


def snapshot_models(snapshot: Path, unusable: dict[str, str]) -> dict[str, Path]:
    """Return the GGUF models in `snapshot` and one folder down, named as `quantizations` does."""
    here = entries(snapshot, unusable)
    inner = [path for folder in here if folder.is_dir() for path in entries(folder, unusable)]
    files = {str(path.relative_to(snapshot)): path for path in here + inner if _is_gguf(path)}
    return {label: files[file] for label, file in quantizations(files).items()}


def is_gguf_folder(folder: Path, inner: Iterable[Path]) -> bool:
    """Return whether `folder` with the entries `inner` has its weights in GGUF files only.

    Repositories of such files often have the configuration of the model that they were made of.
    """
    suffixes = {entry.suffix for entry in inner}
    return GGUF in suffixes and SUFFIX not in suffixes and not is_file(folder / "model_index.json")


def _names(paths: Iterable[Path]) -> list[str]:
    return [path.name for path in paths if _is_gguf(path)]


def _is_gguf(path: Path) -> bool:
    return path.suffix == GGUF and is_file(path)
