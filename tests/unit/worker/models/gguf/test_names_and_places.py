"""Which GGUF files are models, what they are called, and which is meant where several could be."""

import shutil
from pathlib import Path

import pytest
from gguf import GGMLQuantizationType

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.memory.budget import MemoryBudget
from daiic.worker.models.catalog import Catalog
from daiic.worker.models.gguf.description import describe
from daiic.worker.models.model_view import checked_view
from support.models import hostile_models, tiny_gguf
from support.models.hostile_gguf import gguf, value


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model whole, in parts and smaller, and what can lie beside it."""
    folder = tmp_path_factory.mktemp("made")
    tiny_gguf.chat_model(folder / "whole.gguf")
    tiny_gguf.chat_model(folder / "small.gguf", quantization=GGMLQuantizationType.Q8_0)
    tiny_gguf.chat_model(folder / "split.gguf", parts=3)
    tiny_gguf.adapter(folder / "adapter.gguf")
    tiny_gguf.projector(folder / "projector.gguf")
    tiny_gguf.embedding_model(folder / "sentences.gguf")
    return folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


@pytest.fixture
def catalog(tmp_path: Path, models: Path) -> Catalog:
    return Catalog(models, tmp_path / "cache")


def copy(made: Path, name: str, to: Path) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(made / name, to))


def split(made: Path, folder: Path, name: str = "big-BF16") -> list[Path]:
    return [
        copy(made, part.name, folder / part.name.replace("split", name))
        for part in sorted(made.glob("split-*.gguf"))
    ]


def names(catalog: Catalog) -> list[str]:
    return [model.name for model in catalog.scan()]


def refusal(catalog: Catalog, name: str) -> TaskError:
    with pytest.raises(TaskError) as caught:
        catalog.find(name)
    assert caught.value.remedy
    return caught.value


def cached(tmp_path: Path, repository: str) -> Path:
    """Return the folder of a snapshot in the cache, whose files would be links into `blobs`."""
    folder = tmp_path / "cache" / f"models--{repository.replace('/', '--')}"
    (folder / "blobs").mkdir(parents=True)
    (folder / "snapshots" / "abc").mkdir(parents=True)
    return folder / "snapshots" / "abc"


def test_file_is_found_with_and_without_its_suffix(catalog, models, made):
    copy(made, "whole.gguf", models / "Chat-1B-Instruct-BF16.gguf")
    assert names(catalog) == ["Chat-1B-Instruct-BF16.gguf"]
    for written in ("Chat-1B-Instruct-BF16.gguf", "Chat-1B-Instruct-BF16", "chat:1b"):
        model = catalog.find(written)
        assert model.name == "Chat-1B-Instruct-BF16.gguf" and model.kind == pb.TEXT


def test_kinds_are_told_from_the_metadata(catalog, models, made):
    copy(made, "whole.gguf", models / "chat.gguf")
    copy(made, "sentences.gguf", models / "sentences.gguf")
    copy(made, "adapter.gguf", models / "style.gguf")
    copy(made, "projector.gguf", models / "mmproj-other.gguf")
    copy(made, "projector.gguf", models / "eyes.gguf")
    kinds = {model.name: model.kind for model in catalog.scan()}
    assert kinds == {"chat.gguf": pb.TEXT, "sentences.gguf": pb.EMBEDDING}
    assert not catalog.unusable
    assert "of the kind adapter" in refusal(catalog, "style.gguf").message
    assert "of the kind mmproj" in refusal(catalog, "eyes").message


def test_parts_are_one_model_named_without_their_numbers(catalog, models, made):
    parts = split(made, models)
    assert names(catalog) == ["big-BF16.gguf"]
    for written in ("big-BF16", "big-BF16.gguf", parts[0].name, parts[2].name):
        assert catalog.find(written).path == parts[0]
    assert describe(parts[0]).weight_bytes == describe(made / "whole.gguf").weight_bytes
    with checked_view(catalog.find("big-BF16")) as path:
        assert path.name == parts[0].name
        assert sorted(p.name for p in path.parent.iterdir()) == [p.name for p in parts]


def test_model_of_which_a_part_is_missing_says_which(catalog, models, made):
    parts = split(made, models)
    parts[1].unlink()
    assert names(catalog) == []
    assert "big-BF16-00002-of-00003.gguf is missing" in catalog.unusable["big-BF16.gguf"]
    parts[0].unlink()
    assert "00001-of-00003.gguf is missing, and 1 more" in refusal(catalog, "big-BF16").message


def test_parts_that_were_mixed_up_are_refused(catalog, models, made):
    parts = split(made, models)
    shutil.copy(parts[0], parts[1])
    assert "not the part of a model that its name says" in refusal(catalog, "big-BF16").message
    shutil.copy(parts[0], models / "alone.gguf")
    assert "its name does not say which" in refusal(catalog, "alone").message


def test_folder_of_one_model_offers_its_quantisations(catalog, models, made):
    copy(made, "whole.gguf", models / "chat" / "Chat-1B-BF16.gguf")
    copy(made, "small.gguf", models / "chat" / "Chat-1B-Q8_0.gguf")
    copy(made, "projector.gguf", models / "chat" / "mmproj-F16.gguf")
    hostile_models.folder(models / "chat", weights="")  # what the repository was made of
    assert names(catalog) == ["chat:BF16", "chat:Q8_0"]
    assert catalog.find("chat:q8_0").name == "chat:Q8_0"
    assert catalog.find("chat/Chat-1B-Q8_0.gguf").name == "chat:Q8_0"
    assert catalog.find("chat").name == "chat:Q8_0"
    assert catalog.aliases == {"chat": "chat:Q8_0"}
    told = {model.name: (model.quantization, model.needs) for model in catalog.scan()}
    assert told["chat:Q8_0"][0] == "Q8_0" and 0 < told["chat:Q8_0"][1] < told["chat:BF16"][1]
    assert "there is no model chat:Q4_0" in refusal(catalog, "chat:Q4_0").message
    assert pb.SEE in catalog.find("chat:Q8_0").capabilities


def test_different_models_in_a_folder_go_by_their_files(catalog, models, made):
    copy(made, "whole.gguf", models / "mine" / "chat-BF16.gguf")
    copy(made, "small.gguf", models / "mine" / "other-Q8_0.gguf")
    assert names(catalog) == ["mine/chat-BF16.gguf", "mine/other-Q8_0.gguf"]
    assert catalog.find("mine/other-Q8_0").name == "mine/other-Q8_0.gguf"


def test_checkpoint_is_not_hidden_by_a_gguf_beside_it(catalog, models, made):
    hostile_models.folder(models / "chat")
    copy(made, "whole.gguf", models / "chat" / "chat-BF16.gguf")
    assert names(catalog) == ["chat"]
    with checked_view(catalog.find("chat")) as path:
        assert not list(path.glob("*.gguf"))


def test_link_out_of_the_folder_is_refused(catalog, models, made, tmp_path):
    outside = copy(made, "whole.gguf", tmp_path / "outside.gguf")
    (models / "chat").mkdir()
    (models / "chat-BF16.gguf").symlink_to(outside)
    (models / "chat" / "x-BF16.gguf").symlink_to(outside)
    assert names(catalog) == [] and len(catalog.unusable) == 2
    for name in ("chat-BF16", "chat:BF16", "chat"):
        assert "link" in refusal(catalog, name).message


@pytest.mark.parametrize(
    ("room", "chosen", "why"),
    [
        (MemoryBudget(0, 1 << 40), "owner/chat-GGUF:Q8_0", "the largest of 2 quantisations"),
        (MemoryBudget(0, 1), "owner/chat-GGUF:Q8_0", "none fits"),
    ],
)
def test_repository_without_a_tag_means_what_suits_the_memory(
    tmp_path, models, made, room, chosen, why
):
    snapshot = cached(tmp_path, "owner/chat-GGUF")
    copy(made, "whole.gguf", snapshot / "Chat-BF16.gguf")
    copy(made, "small.gguf", snapshot / "Chat-Q8_0.gguf")
    catalog = Catalog(models, tmp_path / "cache", lambda: room)
    assert names(catalog) == ["owner/chat-GGUF:BF16", "owner/chat-GGUF:Q8_0"]
    model = catalog.downloaded("hf.co/owner/chat-GGUF")
    assert model.name == chosen and why in model.choice
    assert catalog.downloaded("owner/chat-GGUF:bf16").name == "owner/chat-GGUF:BF16"
    assert catalog.downloaded("owner/chat-GGUF:Q2_K") is None
    assert catalog.downloaded("owner/chat") is None
    prefers = Catalog(models, tmp_path / "cache", lambda: room, prefers_gguf=True)
    assert prefers.downloaded("owner/chat").name == chosen


def test_download_that_was_cut_off_is_not_there_yet(tmp_path, catalog, made):
    snapshot = cached(tmp_path, "owner/big")
    parts = split(made, snapshot / "BF16")
    assert names(catalog) == ["owner/big:BF16"]
    parts[2].unlink()
    assert names(catalog) == [] and catalog.downloaded("owner/big:BF16") is None


def test_damaged_file_is_listed_as_unusable_and_others_stay(catalog, models, made):
    copy(made, "whole.gguf", models / "good.gguf")
    (models / "cut.gguf").write_bytes((made / "whole.gguf").read_bytes()[:5000])
    (models / "odd.gguf").write_bytes(gguf(value("general.architecture", 7)))
    assert names(catalog) == ["good.gguf"]
    assert set(catalog.unusable) == {"cut.gguf", "odd.gguf"}
    assert "not a whole GGUF file" in refusal(catalog, "cut").message


def test_description_has_what_memory_is_reckoned_by(made):
    model = describe(made / "whole.gguf")
    assert (model.kind, model.architecture, model.layers) == ("model", "llama", 4)
    assert len(model.layer_bytes) == 4 and len(set(model.layer_bytes)) == 1
    assert 0 < model.other_bytes < model.weight_bytes < (made / "whole.gguf").stat().st_size
    heads = sum(model.kv_heads)
    assert model.kv_bytes_per_token() == heads * (model.key_length + model.value_length) * 2
    assert model.chats and model.context_length == 1024


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([value("general.architecture", "x"), value("x.block_count", 1 << 30)], "layers"),
        ([value("general.architecture", "x"), value("x.context_length", "long")], "impossible"),
        ([value("tokenizer.chat_template", 1)], "something else than text"),
    ],
)
def test_impossible_numbers_are_refused(tmp_path, entries, words):
    (tmp_path / "x.gguf").write_bytes(gguf(*entries))
    with pytest.raises(TaskError, match=words):
        describe(tmp_path / "x.gguf")


@pytest.mark.parametrize("name", ["a:b:c", "a:", ":a", "a/:b", "a:b/c", "a:../b", "a:\x1b", "..:a"])
def test_only_one_word_comes_after_a_colon(catalog, name):
    assert refusal(catalog, name).code == pb.BAD_REQUEST
