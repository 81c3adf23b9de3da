"""To which lengths a model's vectors may be cut, where it was trained for that (Matryoshka).

config.json says so as vLLM reads it: `matryoshka_dimensions` is a list of
lengths, `is_matryoshka` allows any. A `truncate_dim` in
config_sentence_transformers.json is the usual length of such a model.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.model_json import bad_file, read_object

MOST = 1 << 20
"""Numbers of a vector; more than any model makes."""


@dataclass(frozen=True, slots=True)
class Dimensions:
    """`lengths` are those that may be asked for; without any, all do if `any`.

    `usual` is the length where none is asked for, 0 for the whole vector.
    """

    lengths: tuple[int, ...] = ()
    any: bool = False
    usual: int = 0

    @property
    def can_be_chosen(self) -> bool:
        """Whether a task may ask for another length than the usual one."""
        return bool(self.lengths) or self.any

    def check(self, wanted: int, width: int) -> None:
        """Refuse a length that the model, whose vectors have `width` numbers, was not trained for.

        Raises:
            TaskError: UNSUPPORTED if it makes vectors of one length only, BAD_REQUEST, with those
                that may be asked for, otherwise.
        """
        if not wanted or wanted == width:
            return
        if not self.can_be_chosen:
            raise TaskError(
                pb.UNSUPPORTED,
                f"the model's vectors have {width} numbers, and it was not trained to make "
                "shorter ones",
                "leave out `dimensions`",
            )
        if wanted > width or (self.lengths and wanted not in self.lengths):
            allowed = ", ".join(map(str, self.lengths)) or f"1 to {width}"
            raise TaskError(
                pb.BAD_REQUEST,
                f"`dimensions` is {wanted}, which the model was not trained for",
                f"choose one of: {allowed}" if self.lengths else f"choose {allowed}",
            )

    def cut(self, vectors: torch.Tensor, wanted: int) -> torch.Tensor:
        """Return `vectors` [inputs, width] as long as `wanted` says, of length 1 if it says so."""
        if wanted:
            return torch.nn.functional.normalize(vectors[:, :wanted], dim=-1)
        return vectors[:, : self.usual] if self.usual else vectors


def read(path: Path) -> Dimensions:
    """Return to what the vectors of the model in the directory `path` may be cut.

    Raises:
        TaskError: BAD_REQUEST for files that are not valid.
    """
    config = read_object(path / "config.json") or {}
    lengths = config.get("matryoshka_dimensions") or []
    if not isinstance(lengths, list) or not all(map(_is_length, lengths)):
        raise bad_file(path / "config.json", "has `matryoshka_dimensions` that are no lengths")
    beside = path / "config_sentence_transformers.json"
    usual = (read_object(beside) or {}).get("truncate_dim")
    if usual is not None and not _is_length(usual):
        raise bad_file(beside, "has a `truncate_dim` that is no length")
    is_any = config.get("is_matryoshka") is True or usual is not None
    return Dimensions(tuple(sorted(set(lengths))), is_any, usual or 0)


def _is_length(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST
