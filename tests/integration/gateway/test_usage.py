"""What a key uses is counted, kept and told; and what it may not use is refused."""

import asyncio
import json
import signal
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner

from daiic.cli.apikey import app as apikey
from daiic.gateway.http.api_keys import KeyFile
from daiic.gateway.http.key_limits import KeyLimits
from daiic.wire import daiic_pb2 as pb
from integration.gateway.conftest import StartGateway
from support.peers.scripted_head import ScriptedHead, failing
from support.processes.gateway_process import RunningGateway

CHAT = {"model": "stub-chat", "messages": [{"role": "user", "content": "x" * 40}]}
PATH = "/v1/chat/completions"


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def stopped(gateway: RunningGateway) -> None:
    gateway.signal(signal.SIGTERM)
    assert await gateway.ended() == 0


async def answered(task: pb.Task):
    """Ten tokens of prompt, five of an answer."""
    for index in range(5):
        yield pb.Result(text="x", tokens=[index])
    usage = pb.Usage(prompt_tokens=10, completion_tokens=5, cached_tokens=4, reasoning_tokens=2)
    yield pb.Result(final=True, finish_reason=pb.FINISH_REASON_STOP, usage=usage)


async def results(http: httpx.AsyncClient, key: str, **query: object) -> list[dict]:
    answer = await http.get("/v1/usage", params=query, headers=bearer(key) if key else {})
    assert answer.status_code == 200, answer.text
    return [result for bucket in answer.json()["data"] for result in bucket["results"]]


async def test_use_is_told_to_each_key_and_to_an_admin_and_outlives_restart_and_key(
    start_gateway: StartGateway, keys: KeyFile, head: ScriptedHead, tmp_path: Path
) -> None:
    ann, bob = keys.create("ann"), keys.create("bob")
    admin = keys.create("admin", is_admin=True)
    flags = (f"--api-keys-file={keys.path}", f"--state-dir={tmp_path}")
    gateway = await start_gateway(*flags)
    head.script = answered
    async with gateway.http as http:
        await http.post(PATH, json=CHAT, headers=bearer(ann))
        await http.post(PATH, json={**CHAT, "stream": True, "n": 2}, headers=bearer(ann))
        head.script = failing(pb.INTERNAL)
        await http.post(PATH, json=CHAT, headers=bearer(bob))
        (of_ann,) = await results(http, ann, group_by="model")
        figures = ("num_model_requests", "num_errors", "input_tokens", "output_tokens")
        assert [of_ann[name] for name in figures] == [2, 0, 30, 15]
        assert (of_ann["input_cached_tokens"], of_ann["output_reasoning_tokens"]) == (12, 6)
        assert (of_ann["model"], of_ann["api_key_id"]) == ("stub-chat", None)
        both = await results(http, admin, group_by="api_key_id")
        assert {r["api_key_name"]: r["num_errors"] for r in both} == {"ann": 0, "bob": 1}
        bobs_id = next(r["api_key_id"] for r in both if r["api_key_name"] == "bob")
        assert await results(http, ann, api_key_ids=bobs_id) == []
        refused = await http.get("/v1/usage")
        assert refused.status_code == 401
    await stopped(gateway)
    keys.revoke("ann")
    again = await start_gateway(*flags)
    async with again.http as http:
        both = await results(http, admin, **{"group_by[]": ["api_key_id", "model"]})
        assert [r["num_model_requests"] for r in both if r["api_key_name"] == "ann"] == [2]
    shown = CliRunner().invoke(
        apikey, ["usage", "ann", "--by=model", "--json", f"--database={tmp_path / 'usage.sqlite'}"]
    )
    (row,) = json.loads(shown.stdout)
    assert (row["name"], row["model"], row["prompt_tokens"]) == ("ann", "stub-chat", 30)


async def test_days_tokens_are_refused_when_they_are_used_up_also_after_a_restart(
    start_gateway: StartGateway, keys: KeyFile, head: ScriptedHead, tmp_path: Path
) -> None:
    ann = keys.create("ann", limits=KeyLimits(tokens_per_day=20))
    head.script = answered
    flags = (f"--api-keys-file={keys.path}", f"--state-dir={tmp_path}")
    gateway = await start_gateway(*flags)
    async with gateway.http as http:
        first = await http.post(PATH, json=CHAT, headers=bearer(ann))
        assert first.headers["x-ratelimit-remaining-tokens"] in ("20", "5")
        assert (await http.post(PATH, json=CHAT, headers=bearer(ann))).status_code == 200
        refused = await http.post(PATH, json=CHAT, headers=bearer(ann))
        assert (refused.status_code, refused.headers["x-ratelimit-remaining-tokens"]) == (429, "0")
        assert int(refused.headers["retry-after"]) <= 86400
    await stopped(gateway)
    again = await start_gateway(*flags)
    async with again.http as http:
        assert (await http.post(PATH, json=CHAT, headers=bearer(ann))).status_code == 429
        keys.change("ann", {"tokens_per_day": 1000})
        assert (await http.post(PATH, json=CHAT, headers=bearer(ann))).status_code == 200


async def test_stream_is_counted_as_it_goes_and_when_it_is_broken_off(
    start_gateway: StartGateway, keys: KeyFile, head: ScriptedHead
) -> None:
    ann = keys.create("ann", limits=KeyLimits(tokens_per_minute=5))
    gateway = await start_gateway(f"--api-keys-file={keys.path}")

    async def endless(task: pb.Task):
        for index in range(5):
            yield pb.Result(text="x", tokens=[index])
        await asyncio.Event().wait()

    head.script = endless
    async with gateway.http as http:
        body = {**CHAT, "stream": True}
        async with http.stream("POST", PATH, json=body, headers=bearer(ann)) as stream:
            lines = stream.aiter_lines()
            heard = 0
            while heard < 6:
                heard += (await anext(lines)).count('"content":')
            assert (await http.post(PATH, json=CHAT, headers=bearer(ann))).status_code == 429
        await head.cancelled.get()
        async with asyncio.timeout(20):
            while not (used := await results(http, ann)):
                await asyncio.sleep(0.05)
    assert (used[0]["output_tokens"], used[0]["input_tokens"]) == (5, 10)


async def test_key_gets_only_the_models_that_it_may_use(
    start_gateway: StartGateway, keys: KeyFile, head: ScriptedHead
) -> None:
    ann = keys.create("ann", limits=KeyLimits(models=("stub-e*",), priority="high"))
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    async with gateway.http as http:
        listed = (await http.get("/v1/models", headers=bearer(ann))).json()["data"]
        assert [model["id"] for model in listed] == ["stub-embed"]
        assert (await http.get("/v1/models/stub-chat", headers=bearer(ann))).status_code == 404
        for path, body in ((PATH, CHAT), (PATH, {**CHAT, "stream": True})):
            refused = await http.post(path, json=body, headers=bearer(ann))
            assert (refused.status_code, refused.json()["error"]["code"]) == (
                403,
                "model_not_allowed",
            )
        painted = await http.post(
            "/v1/images/generations", json={"prompt": "x"}, headers=bearer(ann)
        )
        assert painted.status_code == 400 and "stub/image" not in painted.text
        body = {"model": "stub-embed", "input": "x"}
        answer = await http.post("/v1/embeddings", json=body, headers=bearer(ann))
        assert answer.status_code == 200
        keys.change("ann", {"models": ()})
        assert (await http.post(PATH, json=CHAT, headers=bearer(ann))).status_code == 200
    assert [task.weight for task in head.tasks] == [400, 400]


async def test_names_of_models_that_there_are_not_are_not_counted_apart(
    start_gateway: StartGateway, keys: KeyFile, head: ScriptedHead
) -> None:
    ann = keys.create("ann")
    gateway = await start_gateway(f"--api-keys-file={keys.path}")
    head.script = failing(pb.MODEL_NOT_FOUND)
    async with gateway.http as http:
        for number in range(5):
            await http.post(PATH, json={**CHAT, "model": f"m{number}"}, headers=bearer(ann))
        (used,) = await results(http, ann, group_by="model")
    assert (used["model"], used["num_model_requests"], used["num_errors"]) == ("unknown", 5, 5)


async def test_without_keys_all_is_one_account_that_those_on_the_machine_see(
    start_gateway: StartGateway, head: ScriptedHead
) -> None:
    gateway = await start_gateway()
    head.script = answered
    async with gateway.http as http:
        await http.post(PATH, json=CHAT)
        (used,) = await results(http, "", group_by="api_key_id")
        assert (used["api_key_name"], used["input_tokens"]) == ("anonymous", 10)


@pytest.mark.parametrize(
    "query",
    [
        {"group_by": "color"},
        {"bucket_width": "1m"},
        {"limit": "0"},
        {"limit": "-1"},
        {"limit": "\u0663"},
        {"start_time": "yesterday"},
        {"start_time": "9" * 5000},
        {"page": "x"},
        {"models": ",".join(map(str, range(2000)))},
    ],
)
async def test_questions_without_an_answer_are_refused(
    start_gateway: StartGateway, query: dict[str, str]
) -> None:
    gateway = await start_gateway()
    async with gateway.http as http:
        answer = await http.get("/v1/usage", params=query)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, *query)


async def test_pages_of_days_follow_each_other(start_gateway: StartGateway) -> None:
    gateway = await start_gateway()
    async with gateway.http as http:
        query = {"start_time": "1700000000", "end_time": "1700500000", "limit": "4"}
        first = (await http.get("/v1/usage", params=query)).json()
        assert first["has_more"] and len(first["data"]) == 4
        second = (await http.get("/v1/usage", params=query | {"page": first["next_page"]})).json()
        assert not second["has_more"] and second["next_page"] is None
        days = [bucket["start_time"] for bucket in first["data"] + second["data"]]
        assert days == list(range(1699920000, 1700500000, 86400))
        late = (await http.get("/v1/usage", params={"page": "9999-12-31"})).json()
        assert late["data"] == []
