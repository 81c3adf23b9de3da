"""What was downloaded can be deleted, and nothing else."""

from pathlib import Path

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.deletion import delete
from daiic.worker.models.model import Model

NAMES = ("model.safetensors", "config.json")


def downloaded(root: Path, *names: str) -> Path:
    """Return the folder of a repository in the layout of Hugging Face's cache."""
    folder = root / "models--owner--name"
    snapshot = folder / "snapshots" / "main"
    snapshot.mkdir(parents=True)
    (folder / "blobs").mkdir()
    for name in names:
        (folder / "blobs" / f"blob-of-{name}").write_bytes(b"x" * 100)
        (snapshot / name).symlink_to(f"../../blobs/blob-of-{name}")
    return folder


def model(folder: Path, file: str = "") -> Model:
    path = folder / "snapshots" / "main" / file
    return Model("owner/name", path, pb.TEXT, folder, downloaded=True)


def test_a_checkpoint_goes_with_its_whole_folder(tmp_path: Path) -> None:
    folder = downloaded(tmp_path, *NAMES)
    assert delete(model(folder)) == 200
    assert not folder.exists()


def test_of_several_quantisations_the_others_stay(tmp_path: Path) -> None:
    folder = downloaded(tmp_path, "name-Q4_K_M.gguf", "name-Q8_0.gguf", "config.json")
    assert delete(model(folder, "name-Q4_K_M.gguf")) == 100
    left = {file.name for file in (folder / "blobs").iterdir()}
    assert left == {"blob-of-name-Q8_0.gguf", "blob-of-config.json"}
    delete(model(folder, "name-Q8_0.gguf"))
    assert not folder.exists()


def test_what_a_folder_links_to_outside_of_it_stays(tmp_path: Path) -> None:
    outside = tmp_path / "weights"
    outside.write_bytes(b"precious")
    folder = downloaded(tmp_path, "config.json")
    (folder / "snapshots" / "main" / "model.safetensors").symlink_to(outside)
    delete(model(folder))
    assert outside.read_bytes() == b"precious"
    assert not folder.exists()


@pytest.mark.parametrize("linked", ["", "snapshots", "snapshots/main"])
def test_a_folder_that_is_elsewhere_and_only_linked_to_stays(tmp_path: Path, linked: str) -> None:
    folder = downloaded(tmp_path, *NAMES)
    elsewhere = tmp_path / "elsewhere"
    (folder / linked).rename(elsewhere)
    (folder / linked).symlink_to(elsewhere)
    before = sorted(elsewhere.rglob("*"))
    with pytest.raises(TaskError, match="elsewhere") as refused:
        delete(model(folder))
    assert refused.value.code == pb.BAD_REQUEST
    assert sorted(elsewhere.rglob("*")) == before
