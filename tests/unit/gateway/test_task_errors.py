"""Every way in which a task can end has a status, and tells what to do."""

import json

import pytest

from daiic.errors import TaskError
from daiic.gateway.openai.errors import error_body
from daiic.gateway.task_errors import from_task
from daiic.wire import daiic_pb2 as pb

CODES = [code for code in pb.ErrorCode.values() if code]


@pytest.mark.parametrize("code", CODES, ids=pb.ErrorCode.Name)
def test_every_task_error_has_openais_shape(code: pb.ErrorCode) -> None:
    error = from_task(TaskError(code, "it went wrong", "do this"), ["a"], 7)
    body = json.loads(error_body(error))["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert body["code"] == pb.ErrorCode.Name(code).lower()
    assert body["message"].startswith("it went wrong: do this")
    assert 400 <= error.status < 600


@pytest.mark.parametrize("code", CODES, ids=pb.ErrorCode.Name)
def test_only_the_client_is_blamed_for_what_it_sent(code: pb.ErrorCode) -> None:
    blamed = {
        *(pb.BAD_REQUEST, pb.UNSUPPORTED, pb.QUEUE_FULL),
        *(pb.MODEL_NOT_FOUND, pb.MODEL_GATED, pb.UNSAFE_WEIGHTS),
    }
    error = from_task(TaskError(code, "no"), [], 7)
    assert (error.status < 500) == (code in blamed)


def test_what_may_pass_says_when_to_try_again() -> None:
    for code in (pb.QUEUE_FULL, pb.NO_WORKER, pb.SHUTTING_DOWN, pb.HEAD_UNREACHABLE):
        assert from_task(TaskError(code, "no"), [], 7).headers == [(b"retry-after", b"7")]
    assert from_task(TaskError(pb.BAD_REQUEST, "no"), [], 7).headers == []


def test_an_unknown_model_is_answered_with_those_that_are_here() -> None:
    error = TaskError(pb.MODEL_NOT_FOUND, "no worker has x")
    assert from_task(error, ["a", "b"], 7).message.endswith("Models here: a, b")
    assert "No worker has a model yet" in from_task(error, [], 7).message
    assert from_task(error, [], 7).param == "model"
