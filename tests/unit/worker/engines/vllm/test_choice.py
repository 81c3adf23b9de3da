"""Which engine runs language models is what the settings say, and what they can do follows."""

from pathlib import Path

import pytest

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.registry import ENGINES, WITH_VLLM, choose
from daiic.worker.models.catalog import Catalog
from support.models import tiny_gguf


@pytest.mark.parametrize(
    "engines, name, able",
    [
        (
            ENGINES,
            "transformers_text",
            {pb.COMPLETE, pb.CHAT, pb.EMBED, pb.SCHEMA, pb.SAMPLING, pb.TOKENS, pb.TOOLS},
        ),
        (WITH_VLLM, "vllm", {pb.COMPLETE, pb.CHAT, pb.SAMPLING, pb.SCHEMA, pb.TOKENS}),
    ],
    ids=["auto", "vllm"],
)
def test_a_language_model_can_do_what_the_chosen_engine_can(engines, name, able) -> None:
    path = tiny_gguf.TINY_CHAT
    assert choose(path, "chat", engines)[0].name == name
    found = Catalog(path.parent, Path("/nonexistent"), engines=engines).find(path.name)
    assert found.capabilities == able


def test_a_gguf_stays_with_llama_cpp(tmp_path: Path) -> None:
    file = tiny_gguf.chat_model(tmp_path / "chat.gguf")
    assert choose(file, "chat.gguf", WITH_VLLM)[0].name == "llama_cpp"
