"""Tokenizers that would make a text too long for the machine are refused before they are used."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from daiic.errors import TaskError
from daiic.worker.engines.torch.tokenizer import load_tokenizer
from daiic.worker.engines.torch.tokenizer_growth import check_growth
from support.models import tiny_models


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def sequence(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "normalizers": list(steps)}


def charsmap(*results: bytes) -> dict[str, Any]:
    table = (8).to_bytes(4, "little") + bytes(8) + b"\0".join([*results, b""])
    return {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(table).decode()}


def model(path: Path, part: str, steps: Any) -> Path:
    tiny_models.tokenizer().save_pretrained(path)
    content = json.loads((path / "tokenizer.json").read_text())
    (path / "tokenizer.json").write_text(json.dumps(content | {part: steps}))
    return path


@pytest.mark.parametrize(
    "steps",
    [
        sequence(*[replace({"String": "a"}, "a" * 1000)] * 3),
        replace({"String": "a"}, "a" * 65),
        replace({"Regex": ""}, "a" * 64),
        sequence(*[replace({"String": "a"}, "aa")] * 7),
        sequence(*[sequence(*[replace({"String": "a"}, "é")] * 4)] * 2),
        sequence(*[{"type": "Lowercase"}] * 100),
        {"type": "Prepend", "prepend": "x" * 300},
        charsmap(b"a", b"x" * 100),
    ],
)
@pytest.mark.parametrize("part", ["normalizer", "decoder"])
def test_tokenizer_that_makes_texts_too_long_is_refused(
    tmp_path: Path, part: str, steps: dict[str, Any]
) -> None:
    with pytest.raises(TaskError, match=r"tokenizer\.json makes texts too long"):
        load_tokenizer(model(tmp_path / "model", part, steps))


@pytest.mark.parametrize(
    "steps",
    [
        None,
        sequence({"type": "Prepend", "prepend": "▁"}, replace({"String": " "}, "▁")),
        sequence({"type": "NFKC"}, replace({"Regex": " {2,}"}, "▁")),
        sequence(replace({"String": "``"}, '"'), replace({"String": "''"}, '"'), {"type": "NFKD"}),
        charsmap(b"ffi", "ﷺ".encode() * 5),
    ],
)
def test_published_ones_are_taken(tmp_path: Path, steps: dict[str, Any]) -> None:
    check_growth(model(tmp_path / "model", "normalizer", steps))


@pytest.mark.parametrize("content", [b"", b"[", b"[" * 100_000, b'{"normalizer":' * 100_000, b"5"])
def test_what_is_no_tokenizer_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(TaskError, match=r"tokenizer\.json is not a tokenizer's"):
        load_tokenizer(tmp_path)
