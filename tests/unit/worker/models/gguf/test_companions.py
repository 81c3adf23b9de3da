"""What lies beside a GGUF model and belongs to it is found by its name, and is no model itself."""

from pathlib import Path

import pytest

from daiic.worker.models.gguf.files import adapters_of, belonging, draft_of, projector_of
from daiic.worker.models.gguf.shelf import models_in


def put(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


@pytest.mark.parametrize(
    "name", ["draft.gguf", "draft-Q8_0.gguf", "Big.draft.gguf", "big.draft-Q4_0.gguf"]
)
def test_a_draft_is_named_after_its_model_or_alone_with_it(tmp_path: Path, name: str) -> None:
    put(tmp_path, "Big-Q4_K_M.gguf", name)
    assert draft_of(tmp_path / "Big-Q4_K_M.gguf") == tmp_path / name
    assert list(models_in(["Big-Q4_K_M.gguf", name])) == ["Big-Q4_K_M.gguf"]


def test_another_models_draft_is_not_taken(tmp_path: Path) -> None:
    put(tmp_path, "Big-Q4_K_M.gguf", "Other.draft.gguf", "Big-draft-model.gguf")
    assert draft_of(tmp_path / "Big-Q4_K_M.gguf") is None


@pytest.mark.parametrize("folder", ["Big-Q4_K_M.adapters", "Big.adapters"])
def test_adapters_are_in_a_folder_named_after_the_model(tmp_path: Path, folder: str) -> None:
    put(tmp_path, "Big-Q4_K_M.gguf", f"{folder}/b.gguf", f"{folder}/a.gguf", f"{folder}/a.txt")
    put(tmp_path, f"{folder}/c,b.gguf", f"{folder}/c:1.gguf")
    found = adapters_of(tmp_path / "Big-Q4_K_M.gguf")
    assert [file.name for file in found] == ["a.gguf", "b.gguf"]


def test_so_many_adapters_are_taken_and_no_more(tmp_path: Path) -> None:
    put(tmp_path, "Big.gguf", *(f"Big.adapters/{number}.gguf" for number in range(40)))
    assert len(adapters_of(tmp_path / "Big.gguf")) == 32


def test_all_of_them_belong_to_every_part_of_a_split_model(tmp_path: Path) -> None:
    parts = ["Big-Q4_0-00001-of-00002.gguf", "Big-Q4_0-00002-of-00002.gguf"]
    put(tmp_path, *parts, "mmproj-F16.gguf", "Big.draft.gguf", "Big.adapters/a.gguf")
    first = tmp_path / parts[0]
    assert projector_of(first) == tmp_path / "mmproj-F16.gguf"
    assert [str(file.relative_to(tmp_path)) for file in belonging(first)] == [
        *parts,
        "mmproj-F16.gguf",
        "Big.draft.gguf",
        "Big.adapters/a.gguf",
    ]
