"""Names as people write them, Ollama's among them, lead to the models that there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daiic.model_names import Names, plain, quantization_in, without_quantization

THERE = [
    "daiic-tiny-chat",
    "gemma-3-270m-it-Q4_K_M.gguf",
    "Llama-3.2-1B-Instruct-Q8_0.gguf",
    "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
    "qwen:Q4_K_M",
    "qwen:Q8_0",
    "unsloth/Qwen3-4B-GGUF:UD-Q4_K_XL",
    "owner/name",
    "llama3.2:latest",
    "mistral:7b",
    "plain.gguf",
]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("daiic-tiny-chat", "daiic-tiny-chat"),
        ("gemma-3-270m-it-Q4_K_M", "gemma-3-270m-it-Q4_K_M.gguf"),
        ("gemma-3-270m-it-q4_k_m.gguf", "gemma-3-270m-it-Q4_K_M.gguf"),
        ("gemma3:270m", "gemma-3-270m-it-Q4_K_M.gguf"),
        ("library/gemma3:270m", "gemma-3-270m-it-Q4_K_M.gguf"),
        ("gemma3:270m-it-q4_K_M", "gemma-3-270m-it-Q4_K_M.gguf"),
        ("gemma3:270m-it-q8_0", "gemma3:270m-it-q8_0"),
        ("llama3.2:1b", "Llama-3.2-1B-Instruct-Q8_0.gguf"),
        ("llama3.2:1b-instruct-q4_K_M", "Llama-3.2-1B-Instruct-Q4_K_M.gguf"),
        ("llama3.2:3b", "llama3.2:3b"),
        ("llama3.2", "llama3.2:latest"),
        ("registry.ollama.ai/library/llama3.2:latest", "llama3.2:latest"),
        ("qwen", "qwen:Q4_K_M"),
        ("qwen:latest", "qwen:Q4_K_M"),
        ("qwen:q8_0", "qwen:Q8_0"),
        ("hf.co/unsloth/Qwen3-4B-GGUF:ud-q4_k_xl", "unsloth/Qwen3-4B-GGUF:UD-Q4_K_XL"),
        ("https://huggingface.co/unsloth/Qwen3-4B-GGUF", "unsloth/Qwen3-4B-GGUF:UD-Q4_K_XL"),
        ("hf.co/unsloth/Qwen3-4B-GGUF:Q2_K", "unsloth/Qwen3-4B-GGUF:Q2_K"),
        ("hf.co/owner/name", "owner/name"),
        ("hf.co/owner/name:latest", "owner/name"),
        ("plain", "plain.gguf"),
        ("other", "other"),
        ("", ""),
    ],
)
def test_name_leads_to_the_model_that_is_meant(written, meant):
    assert Names(THERE).meant(written) == meant


@pytest.mark.parametrize(
    ("name", "quantization", "rest"),
    [
        ("gemma-3-270m-Q4_K_M.gguf", "Q4_K_M", "gemma-3-270m"),
        ("Qwen3-4B-UD-Q4_K_XL.gguf", "UD-Q4_K_XL", "qwen3-4b"),
        ("model.IQ3_XXS.gguf", "IQ3_XXS", "model"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4", "gpt-oss-20b"),
        ("Phi-3-mini-4k-instruct-q4.gguf", "q4", "phi-3-mini-4k-instruct"),
        ("folder/model-BF16.gguf", "BF16", "model"),
        ("model-fp16.gguf", "fp16", "model"),
        ("owner/name:Q8_0", "Q8_0", "name"),
        ("qwen2.5-7b", "", "qwen2.5-7b"),
        ("bitnet-TQ1_0.gguf", "TQ1_0", "bitnet"),
    ],
)
def test_quantisation_is_told_from_the_rest_of_a_name(name, quantization, rest):
    assert quantization_in(name) == quantization
    assert without_quantization(name) == rest


@given(st.text(max_size=40), st.lists(st.text(max_size=20), max_size=5))
def test_any_name_means_one_that_is_there_or_itself(name, there):
    meant = Names(there).meant(name)
    assert meant in there or meant in (plain(name), plain(name).removesuffix(":latest"))


def test_an_adapter_is_meant_by_its_own_name_after_that_of_its_model() -> None:
    adapters = {"daiic-tiny-chat": ["pirate", "Q4_K_M"], "qwen:Q4_K_M": ["pirate"]}
    names = Names([*THERE, "daiic-tiny-chat:Q4_K_M"], adapters)
    for written, meant, parts in (
        ("daiic-tiny-chat:pirate", "daiic-tiny-chat:pirate", ("daiic-tiny-chat", "pirate")),
        ("DAIIC-tiny-chat:pirate", "daiic-tiny-chat:pirate", ("daiic-tiny-chat", "pirate")),
        ("qwen:pirate", "qwen:Q4_K_M:pirate", ("qwen:Q4_K_M", "pirate")),
        ("qwen:Q4_K_M:pirate", "qwen:Q4_K_M:pirate", ("qwen:Q4_K_M", "pirate")),
        # A model of that name is meant before an adapter.
        ("daiic-tiny-chat:Q4_K_M", "daiic-tiny-chat:Q4_K_M", ("daiic-tiny-chat:Q4_K_M", "")),
        ("qwen:Q8_0:pirate", "qwen:Q8_0:pirate", ("qwen:Q8_0:pirate", "")),
        ("daiic-tiny-chat:Pirate", "daiic-tiny-chat:Pirate", ("daiic-tiny-chat:Pirate", "")),
        ("daiic-tiny-chat", "daiic-tiny-chat", ("daiic-tiny-chat", "")),
        (":pirate", ":pirate", (":pirate", "")),
    ):
        assert names.meant(written) == meant
        assert names.parts(meant) == parts
