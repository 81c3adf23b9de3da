"""The binary caches that flakes and documents offer are the one that `daiic doctor` asks for."""

import re
from pathlib import Path

import pytest

from daiic.cli.nix_cache_checks import CUDA, NIXOS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "path", ["flake.nix", "docs/template/flake.nix", "docs/nix.md", "docs/operations.md"]
)
def test_the_cache_that_is_offered_is_the_one_that_is_asked_for(path: str) -> None:
    text = (ROOT / path).read_text("utf-8")
    assert set(re.findall(r"https://cache[\w.-]+\w", text)) <= {CUDA.url, NIXOS.url}
    assert CUDA.url in text and CUDA.key in text
