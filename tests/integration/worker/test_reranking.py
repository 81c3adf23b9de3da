"""Scores are what the model's publisher says they are, however the documents are batched."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker import backend
from daiic.worker.engines.interface import LoadOptions
from daiic.worker.engines.registry import choose
from daiic.worker.engines.text.checks import check_ranking
from daiic.worker.engines.torch.encoder_engine import EncoderEngine
from daiic.worker.engines.transformers_reranking.load import load
from daiic.worker.limits import LIMITS
from daiic.worker.memory.budget import MemoryBudget
from support.models.tiny_models import tokenizer

QUERY = "what is it?"
DOCUMENTS = ["one", "two and a little more", "🙂" * 9, "schöne Häuser " * 400, "one"] * 8
SIZE = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "num_labels": 1,
}


def cross_encoder(path: Path, kind: str = "Bert", **config: Any) -> Path:
    """Write a cross-encoder of random weights."""
    fast = tokenizer()
    fast.model_max_length = 96
    torch.manual_seed(7)
    described = getattr(transformers, f"{kind}Config")(
        vocab_size=len(fast),
        max_position_embeddings=128,
        pad_token_id=fast.pad_token_id,
        **SIZE,
        **config,
    )
    model = getattr(transformers, f"{kind}ForSequenceClassification")(described)
    for parameter in model.parameters():  # scores of the usual initialisation hardly differ
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(path)
    fast.save_pretrained(path)
    return path


async def loaded(path: Path) -> EncoderEngine:
    torch.set_num_threads(1)
    return await load(
        path,
        LoadOptions(backend.choose("cpu")),
        MemoryBudget(vram_bytes=0, ram_bytes=1 << 30),
        lambda done: None,
    )


async def ranked(engine: EncoderEngine, query: str, documents: list[str]) -> pb.Result:
    task = pb.Task(model="m", rerank=pb.RerankTask(query=query, documents=documents))
    [answer] = [part async for part in engine.run(task)]
    assert answer.final
    return answer


def alone(path: Path, query: str, document: str) -> float:
    """Return what the model gives for one pair, without a batch."""
    fast = AutoTokenizer.from_pretrained(path)
    pair = fast(query, document, truncation="only_second", max_length=96, return_tensors="pt")
    model = AutoModelForSequenceClassification.from_pretrained(path).eval()
    with torch.inference_mode():
        return float(model(**pair).logits[0, 0])


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        ("Bert", {}),
        ("XLMRoberta", {}),
        ("ModernBert", {"cls_token_id": 1, "sep_token_id": 2}),
        ("Qwen3", {"num_key_value_heads": 2, "head_dim": 16}),
    ],
)
async def test_batched_scores_are_those_of_each_document_alone(
    tmp_path: Path, kind: str, config: dict[str, Any]
) -> None:
    path = cross_encoder(tmp_path / "model", kind, **config)
    engine = await loaded(path)
    answer = await ranked(engine, QUERY, DOCUMENTS)
    expected = torch.sigmoid(torch.tensor([alone(path, QUERY, text) for text in DOCUMENTS[:5]] * 8))
    assert torch.allclose(torch.tensor(answer.scores), expected, atol=1e-4)
    assert len({round(score, 4) for score in answer.scores}) == 4
    assert answer.usage.prompt_tokens > 8 * 96
    await engine.close()


@pytest.mark.parametrize("where", ["config.json", "older config.json", "beside"])
async def test_scores_stay_as_they_are_where_the_publisher_says_so(
    tmp_path: Path, where: str
) -> None:
    identity = "torch.nn.modules.linear.Identity"
    named = {
        "config.json": {"sentence_transformers": {"activation_fn": identity}},
        "older config.json": {"sbert_ce_default_activation_function": identity},
        "beside": {},
    }
    path = cross_encoder(tmp_path / "model", **named[where])
    if where == "beside":
        (path / "config_sentence_transformers.json").write_text(
            json.dumps({"activation_fn": identity})
        )
    engine = await loaded(path)
    answer = await ranked(engine, QUERY, ["one"])
    assert answer.scores[0] == pytest.approx(alone(path, QUERY, "one"), abs=1e-4)
    await engine.close()


async def test_a_long_query_is_cut_and_leaves_half_to_the_document(tmp_path: Path) -> None:
    engine = await loaded(cross_encoder(tmp_path / "model"))
    query = "what " * 300
    one, other = (await ranked(engine, query, ["first", "another one"])).scores
    assert one != other
    cut = (await ranked(engine, query + "more", ["first", "another one"])).scores
    assert list(cut) == [one, other]
    await engine.close()


@pytest.mark.parametrize(
    ("query", "documents", "what"),
    [
        (" ", ["d"], "query"),
        ("q", [], "documents"),
        ("q", ["d"] * (LIMITS.documents + 1), "documents"),
    ],
)
def test_a_task_without_sense_is_refused(query: str, documents: list[str], what: str) -> None:
    with pytest.raises(TaskError, match=what):
        check_ranking(pb.RerankTask(query=query, documents=documents))


async def test_an_activation_that_is_not_known_refuses_the_model(tmp_path: Path) -> None:
    named = {"activation_fn": "os.system"}
    path = cross_encoder(tmp_path / "model", sentence_transformers=named)
    with pytest.raises(TaskError, match=r"os\.system, which is not supported"):
        await loaded(path)


def test_a_classifier_of_several_labels_ranks_nothing(tmp_path: Path) -> None:
    path = cross_encoder(tmp_path / "model")
    assert choose(path, "m")[1].model_kind == pb.RERANKING
    config = json.loads((path / "config.json").read_text())
    config["id2label"] = {"0": "no", "1": "yes"}
    (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(TaskError, match="a kind that workers do not run"):
        choose(path, "m")
