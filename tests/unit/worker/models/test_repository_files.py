"""Which files of a repository are downloaded."""

import pytest

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.repository_files import choose_files


def weights(*files):
    return choose_files("owner/name", files).weights


def test_language_model_comes_without_its_other_copies():
    chosen = choose_files(
        "owner/name",
        [
            ".gitattributes",
            "README.md",
            "config.json",
            "tokenizer.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "consolidated.safetensors",
            "pytorch_model.bin",
            "original/consolidated.00.pth",
            "original/params.json",
            "onnx/model.onnx",
            "adapter_model.safetensors",
        ],
    )
    assert chosen.weights == [
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]
    assert chosen.texts == ["config.json", "model.safetensors.index.json", "tokenizer.json"]


def test_pipeline_comes_in_one_precision_and_without_whole_checkpoints():
    assert weights(
        "model_index.json",
        "v1-5-pruned.safetensors",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.bin",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.fp16-00001-of-00002.safetensors",
        "text_encoder/model.fp16-00002-of-00002.safetensors",
    ) == [
        "text_encoder/model.fp16-00001-of-00002.safetensors",
        "text_encoder/model.fp16-00002-of-00002.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
    ]


def test_sentence_model_comes_with_its_modules():
    chosen = choose_files(
        "owner/name",
        [
            "modules.json",
            "config.json",
            "model.safetensors",
            "1_Pooling/config.json",
            "2_Dense/model.safetensors",
        ],
    )
    assert chosen.weights == ["2_Dense/model.safetensors", "model.safetensors"]
    assert "1_Pooling/config.json" in chosen.texts


def test_whole_file_is_taken_where_shards_are_there_too():
    assert weights("config.json", "model.safetensors", "model-00001-of-00002.safetensors") == [
        "model.safetensors"
    ]


def test_pickled_weights_are_never_chosen():
    with pytest.raises(TaskError) as caught:
        weights("config.json", "pytorch_model.bin", "rng_state.pth")
    assert caught.value.code == pb.UNSAFE_WEIGHTS


@pytest.mark.parametrize("files", [["README.md", "data.csv"], ["adapter_model.safetensors"], []])
def test_repository_of_something_else_is_refused(files):
    with pytest.raises(TaskError) as caught:
        weights(*files)
    assert caught.value.code == pb.BAD_REQUEST


def test_names_that_no_file_of_a_model_has_are_left_out():
    odd = ["", ".", "/", "..", "/config.json", "unet/../x.json", "a/..", "..//b.json", "\x1b.json"]
    chosen = choose_files("owner/name", ["config.json", "model.safetensors", *odd])
    assert (chosen.texts, chosen.weights) == (["config.json"], ["model.safetensors"])
