"""What a server is started with again is what the model was loaded from, or it is not started."""

from pathlib import Path

import pytest

from daiic.errors import TaskError
from daiic.worker.engines.llama_cpp.kept_files import KeptFiles


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    view = tmp_path / "view"
    (view / "m.adapters").mkdir(parents=True)
    names = ("m.gguf", "m.adapters/a.gguf")
    for name in names:
        real = tmp_path / Path(name).name
        real.write_text(name)
        (view / name).symlink_to(real)
    return [view / name for name in names]


def test_links_stay_when_those_of_the_load_are_gone(files: list[Path]) -> None:
    elsewhere = files[0].parents[1] / "draft.gguf"
    elsewhere.write_text("draft")
    kept = KeptFiles(files[0], [*files, elsewhere])
    for file in files:
        file.unlink()
    assert kept.link_to(files[1]).read_text() == "m.adapters/a.gguf"
    assert kept.link_to(files[1]).parent.parent == kept.link_to(files[0]).parent
    assert kept.link_to(elsewhere).read_text() == "draft"
    kept.check()
    kept.close()
    assert not kept.link_to(files[0]).parent.exists()


@pytest.mark.parametrize("changed", [True, False])
def test_a_file_that_changed_or_went_is_told(files: list[Path], changed: bool) -> None:
    kept = KeptFiles(files[0], files)
    real = files[0].resolve()
    if changed:
        real.write_text("other weights")
    else:
        real.unlink()
    with pytest.raises(TaskError, match=r"m\.gguf has changed"):
        kept.check()
    kept.close()
