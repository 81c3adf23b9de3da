"""A GGUF file is read as the gguf package reads it, and refused where it is damaged or lies."""

import struct
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType
from gguf.constants import GGML_QUANT_SIZES, LlamaFileType
from hypothesis import given
from hypothesis import strategies as st

from daiic.errors import TaskError
from daiic.worker.models.gguf import reader
from daiic.worker.models.gguf.reader import read_header
from daiic.worker.models.gguf.types import FILE_TYPES, TENSOR_TYPES
from support.models import tiny_gguf
from support.models.hostile_gguf import gguf, key, string, tensor, value


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_gguf.chat_model(
        tmp_path_factory.mktemp("gguf") / "chat.gguf", quantization=GGMLQuantizationType.Q8_0
    )


def test_says_the_same_as_the_gguf_package(chat):
    ours, theirs = read_header(chat), GGUFReader(chat)
    keys = [name for name in theirs.fields if not name.startswith("GGUF.")]
    assert [*ours.places] == keys
    for name in keys:
        field = theirs.fields[name]
        if field.types[0] == GGUFValueType.ARRAY:
            assert ours.lengths[name] == len(field.data)
        else:
            assert ours.values[name] == field.contents()
    assert [(t.name, t.type, list(t.shape), t.size) for t in ours.tensors] == [
        (t.name, t.tensor_type.name, t.shape.tolist(), t.n_bytes) for t in theirs.tensors
    ]
    assert ours.weights_at == theirs.data_offset


def test_types_are_those_of_the_gguf_package():
    theirs = {t.value: (t.name, *GGML_QUANT_SIZES[t]) for t in GGMLQuantizationType}
    assert theirs.items() <= TENSOR_TYPES.items()
    names = {t.value: t.name.removeprefix("MOSTLY_").removeprefix("ALL_") for t in LlamaFileType}
    del names[LlamaFileType.GUESSED]
    assert names.items() <= FILE_TYPES.items()


def refusal(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    with pytest.raises(TaskError) as caught:
        read_header(path)
    assert caught.value.remedy and caught.value.message.isprintable()
    return caught.value.message


HUGE = (1 << 64) - 1
WEIGHT = tensor("w", (2,), 0, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "ends too early"),
        (b"GGUF", "ends too early"),
        (b"\x80\x04\x95" + bytes(64), "not a GGUF file"),
        (gguf(version=1), "version 1"),
        (gguf(version=3 << 24), "big-endian"),
        (gguf(version=0), "version 0"),
        (gguf(keys=HUGE), "keys"),
        (gguf(tensors=HUGE), "tensors"),
        (gguf(keys=2, weights=0), "ends too early"),
        (gguf(tensors=2, weights=0), "ends too early"),
        (gguf(struct.pack("<Q", HUGE)), "name is 18446744073709551615 bytes"),
        (gguf(key("a", 8, struct.pack("<Q", HUGE))), "ends too early"),
        (gguf(key("a", 99, b"")), "unknown type 99"),
        (gguf(key("a", 9, struct.pack("<IQ", 9, 1))), "unknown type 9"),
        (gguf(key("a", 9, struct.pack("<IQ", 8, 1 << 40))), "strings in its arrays"),
        (gguf(key("a", 9, struct.pack("<IQ", 8, 1000))), "ends too early"),
        (gguf(key("a", 9, struct.pack("<IQ", 0, HUGE))), "ends too early"),
        (gguf(key("a", 9, struct.pack("<IQQ", 8, 1, HUGE))), "ends too early"),
        (gguf(value("a", 1), value("a", 2)), "the key a twice"),
        (gguf(value("general.alignment", 3)), "power of two"),
        (gguf(value("general.alignment", 0)), "power of two"),
        (gguf(key("general.alignment", 8, string("32"))), "power of two"),
        (gguf(tensors=[tensor("w", (2,), 77, 0)]), "unknown type 77"),
        (gguf(tensors=[tensor("w", (1,) * 5, 0, 0)]), "5 dimensions"),
        (gguf(tensors=[tensor("w", (33,), 8, 0)]), "wrong length for Q8_0"),
        (gguf(tensors=[tensor("w", (HUGE,) * 4, 0, 0)]), "not whole"),
        (gguf(tensors=[tensor("w", (1 << 32, 1 << 32), 0, 0)]), "not whole"),
        (gguf(tensors=[tensor("w", (2,), 0, 1 << 63)]), "not whole"),
        (gguf(tensors=[tensor("w", (2,), 0, 4)]), "place that is not its own"),
        (gguf(tensors=[WEIGHT, tensor("v", (2,), 0, 0)]), "place that is not its own"),
        (gguf(tensors=[WEIGHT, tensor("w", (2,), 0, 32)]), "the tensor w twice"),
        (gguf(tensors=[tensor("\x1b[2Jw", (33,), 8, 0)]), r"\x1b[2Jw"),
    ],
)
def test_file_that_is_damaged_or_lies_is_refused_with_the_reason(tmp_path, content, words):
    assert words in refusal(tmp_path / "model.gguf", content)


def test_file_that_was_cut_off_anywhere_is_refused(tmp_path, chat):
    whole = chat.read_bytes()
    assert read_header(chat).tensors
    for length in (0, 3, 24, 1000, len(whole) // 2, len(whole) - 1):
        assert "whole" in refusal(tmp_path / "cut.gguf", whole[:length])


def test_header_beyond_the_bound_is_not_read(tmp_path):
    path = tmp_path / "sparse.gguf"
    path.write_bytes(gguf(key("a", 9, struct.pack("<IQ", 0, 1 << 40))))
    with path.open("r+b") as file:
        file.truncate(1 << 41)
    with pytest.raises(TaskError, match="says more of itself than 128 MiB"):
        read_header(path)


def test_vocabulary_and_long_texts_are_passed_over(tmp_path):
    path = tmp_path / "model.gguf"
    tokens = key("tokens", 9, struct.pack("<IQ", 8, 3) + string("a") + string("") + string("bc"))
    scores = key("scores", 9, struct.pack("<IQ5000f", 6, 5000, *range(5000)))
    long = key("long", 8, string("x" * (reader.MAX_KEPT + 1)))
    path.write_bytes(gguf(tokens, scores, long, value("after", 7)))
    header = read_header(path)
    assert header.values == {"after": 7}
    assert header.lengths == {"tokens": 3, "scores": 5000, "long": 1}


@given(st.data())
def test_any_changed_bytes_are_read_or_refused(tmp_path_factory, chat, data):
    content = bytearray(chat.read_bytes()[:30_000])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 8))
        content[at : at + 8] = data.draw(st.binary(min_size=8, max_size=8))
    path = tmp_path_factory.getbasetemp() / "changed.gguf"
    path.write_bytes(content)
    try:
        read_header(path)
    except TaskError as error:
        assert error.message.isprintable() and len(error.message) < 1000
