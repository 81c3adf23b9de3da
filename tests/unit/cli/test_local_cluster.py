"""What a cluster on this machine says of programs that it cannot start."""

from pathlib import Path

import pytest

from daiic.cli import local_cluster


@pytest.mark.parametrize(
    ("program", "advice"),
    [("hydramesh", "build it with `make hydramesh`"), ("daiic-nothing", "install it")],
)
async def test_program_that_is_not_there_is_named_with_what_to_do(
    program: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", [str(tmp_path / "daiic")])
    monkeypatch.setattr(local_cluster, "BUILT", {"hydramesh": tmp_path / "hydramesh"})
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=f"{program} .*{advice}"):
        await local_cluster.LocalCluster(tmp_path).start(program, "head", [])


async def test_what_make_has_built_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = tmp_path / "hydramesh"
    built.write_text("#!/bin/sh\nexec sleep 60\n")
    built.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(tmp_path / "elsewhere" / "daiic")])
    monkeypatch.setattr(local_cluster, "BUILT", {"hydramesh": built})
    cluster = local_cluster.LocalCluster(tmp_path)
    await cluster.start("hydramesh", "head", [])
    cluster.check()
    await cluster.stop()
