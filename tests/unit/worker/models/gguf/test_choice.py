"""Which quantisation is taken where none is named, on disk and from a repository."""

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.gguf.choice import choose_quantization
from daiic.worker.models.repository_ggufs import choose_ggufs, has_ggufs

GB = 10**9
NEEDS = {"BF16": 16 * GB, "Q8_0": 9 * GB, "Q4_K_M": 5 * GB, "Q2_K": 3 * GB}


@pytest.mark.parametrize(
    ("vram", "ram", "chosen", "why"),
    [
        (0, 32, "Q8_0", "largest of 4 quantisations that fits into 32.0 GB of memory"),
        (0, 8, "Q4_K_M", "fits into 8.0 GB of memory"),
        (6, 32, "Q4_K_M", "fits into 6.0 GB of GPU memory"),
        (2, 8, "Q8_0", "fits into 10.0 GB of memory"),
        (0, 1, "Q2_K", "the smallest of 4 quantisations; none fits into 1.0 GB"),
    ],
)
def test_largest_of_eight_bits_that_fits_is_chosen(vram, ram, chosen, why):
    label, reason = choose_quantization(NEEDS, MemoryBudget(vram * GB, ram * GB))
    assert label == chosen and reason.startswith(chosen) and why in reason


def test_unquantised_weights_are_taken_where_there_are_no_others():
    assert choose_quantization({"F16": GB}, MemoryBudget(0, 2 * GB)) == ("F16", "F16: the only one")


FILES = {
    "README.md": 1,
    "Chat-Q2_K.gguf": 2 * GB,
    "Chat-UD-Q4_K_XL.gguf": 4 * GB,
    "Q8_0/Chat-Q8_0-00001-of-00002.gguf": 4 * GB,
    "Q8_0/Chat-Q8_0-00002-of-00002.gguf": 4 * GB,
    "Q6_K/Chat-Q6_K-00001-of-00002.gguf": 3 * GB,
    "mmproj-F16.gguf": GB,
    "mmproj-F32.gguf": GB,
    "imatrix_chat.gguf": GB,
    ".hidden/Chat-Q5_K_M.gguf": 5 * GB,
    "a/b/Chat-Q5_K_M.gguf": 5 * GB,
    "Chat-\x1b-Q5_0.gguf": 5 * GB,
}


def chosen(tag: str, room: int = 64 * GB):
    return choose_ggufs("owner/chat", FILES, tag, MemoryBudget(0, room))


def test_tag_leads_to_its_files_and_the_projector():
    name, files = chosen("ud-q4_k_xl")
    assert name == "owner/chat:UD-Q4_K_XL"
    assert files.weights == ["Chat-UD-Q4_K_XL.gguf"] and files.texts == ["mmproj-F16.gguf"]


def test_all_parts_of_a_split_model_are_taken():
    name, files = chosen("")
    assert name == "owner/chat:Q8_0"
    assert files.weights == [f"Q8_0/Chat-Q8_0-0000{n}-of-00002.gguf" for n in (1, 2)]
    assert chosen("", 6 * GB)[0] == "owner/chat:UD-Q4_K_XL"


@pytest.mark.parametrize(
    ("tag", "code", "words"),
    [
        ("Q3_K_S", pb.MODEL_NOT_FOUND, "no GGUF files of Q3_K_S"),
        ("Q5_K_M", pb.MODEL_NOT_FOUND, "no GGUF files of Q5_K_M"),
        ("Q6_K", pb.BAD_REQUEST, "Q6_K/Chat-Q6_K-00002-of-00002.gguf is missing"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(tag, code, words):
    with pytest.raises(TaskError) as caught:
        chosen(tag)
    assert caught.value.code == code and words in caught.value.message
    assert code != pb.MODEL_NOT_FOUND or "UD-Q4_K_XL" in caught.value.remedy


def test_projectors_alone_are_no_model():
    assert has_ggufs(FILES) and not has_ggufs(["mmproj-F16.gguf", "imatrix.gguf", "x.safetensors"])
    with pytest.raises(TaskError, match="has no GGUF files"):
        choose_ggufs("owner/chat", {"config.json": 1}, "Q8_0", MemoryBudget(0, GB))
