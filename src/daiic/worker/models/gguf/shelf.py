"""Which GGUF models a folder offers, and under which names."""

from collections import Counter
from collections.abc import Iterable

from daiic.worker.models.gguf.file_names import base, is_projector, tag, whole_name


def models_in(files: Iterable[str]) -> dict[str, str]:
    """Return the model files among the GGUF `files`, by what they are called when whole.

    Of a split model that is the first part that is there. Projectors are left out.
    """
    found: dict[str, str] = {}
    for file in sorted(files):
        whole = whole_name(file)
        if not is_projector(file) and (whole not in found or file == whole):
            found[whole] = file
    return found


def tagged(folder: str, files: Iterable[str]) -> dict[str, str]:
    """Return the model files of `folder` by the names that it offers them under.

    One model in several quantisations is `folder:Q4_K_M`, `folder:Q8_0`;
    different ones go by their files' names, `folder/NAME.gguf`.
    """
    found = models_in(files)
    tags = Counter(tag(whole).upper() for whole in found)
    one_model = len({base(whole) for whole in found}) == 1
    if one_model and max(tags.values(), default=0) == 1 and "" not in tags:
        return {f"{folder}:{tag(whole)}": file for whole, file in found.items()}
    return {f"{folder}/{whole}": file for whole, file in found.items()}
