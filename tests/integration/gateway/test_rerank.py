"""Documents are ranked in Jina's and in Cohere's shape."""

from typing import Any

import pytest

from daiic.gateway.limits import DOCUMENTS
from daiic.wire import daiic_pb2 as pb
from support.peers.scripted_head import ScriptedHead, failing
from support.processes.gateway_process import RunningGateway

ASKED = {"model": "stub-rerank", "query": "q", "documents": ["long text", "text", "longer text"]}


async def ranked(gateway: RunningGateway, path: str, **body: object) -> dict[str, Any]:
    async with gateway.http as http:
        answer = await http.post(path, json={**ASKED, **body})
    assert answer.status_code == 200, answer.text
    whole: dict[str, Any] = answer.json()
    return whole


@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
async def test_jinas_shape_has_the_documents_and_the_tokens(
    gateway: RunningGateway, head: ScriptedHead, path: str
) -> None:
    documents = [{"text": "long text"}, "text", {"text": "longer text", "title": "t"}]
    answer = await ranked(gateway, path, documents=documents)
    assert (answer["model"], answer["object"]) == ("stub-rerank", "list")
    assert [one["index"] for one in answer["results"]] == [1, 0, 2]
    assert [one["document"]["text"] for one in answer["results"]] == [
        "text",
        "long text",
        "longer text",
    ]
    scores = [one["relevance_score"] for one in answer["results"]]
    assert scores == sorted(scores, reverse=True) and scores[0] == pytest.approx(0.2)
    assert answer["usage"]["total_tokens"] == 5
    task = head.tasks[-1].rerank
    assert (task.query, list(task.documents)) == ("q", ["long text", "text", "longer text"])


async def test_coheres_shape_has_scores_and_units(gateway: RunningGateway) -> None:
    answer = await ranked(gateway, "/v2/rerank", top_n=2)
    assert [set(one) for one in answer["results"]] == [{"index", "relevance_score"}] * 2
    assert [one["index"] for one in answer["results"]] == [1, 0]
    assert answer["id"]
    assert answer["meta"]["billed_units"] == {"search_units": 1}
    assert answer["meta"]["api_version"] == {"version": "2"}
    with_text = await ranked(gateway, "/v2/rerank", return_documents=True, top_n=9)
    assert with_text["results"][0]["document"] == {"text": "text"}
    without = await ranked(gateway, "/v1/rerank", return_documents=False)
    assert "document" not in without["results"][0]


@pytest.mark.parametrize(
    ("param", "value"),
    [
        ("query", " "),
        ("query", ["q"]),
        ("documents", []),
        ("documents", "d"),
        ("documents", ["d"] * (DOCUMENTS + 1)),
        ("documents", [{"image": "x"}]),
        ("top_n", 0),
        ("return_documents", "yes"),
        ("rank_fields", ["title"]),
        ("max_tokens_per_doc", 10),
        ("max_chunks_per_doc", 1),
    ],
)
async def test_what_cannot_be_honoured_is_refused_by_name(
    gateway: RunningGateway, param: str, value: object
) -> None:
    async with gateway.http as http:
        answer = await http.post("/v1/rerank", json={**ASKED, param: value})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"]) == (400, "invalid_request_error")
    assert error["param"].startswith(param)


async def test_a_model_that_ranks_nothing_is_refused_with_those_that_do(
    gateway: RunningGateway, head: ScriptedHead
) -> None:
    said = "stub-chat cannot rank texts"
    head.script = failing(pb.UNSUPPORTED, said, "models that can: stub-rerank")
    async with gateway.http as http:
        answer = await http.post("/v1/rerank", json={**ASKED, "model": "stub-chat"})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == f"{said}: models that can: stub-rerank"
    assert answer.json()["error"]["code"] == "unsupported"
