"""GET /api/cluster/...: the tasks that are not over, why one is where it is, and the policy.

Only administrators may ask: a policy names clients, and tasks are everybody's. The head is asked
each time; heads that do not know of such things tell nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daiic.errors import TaskError
from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.admin import check_is_admin
from daiic.gateway.http.errors import SERVER, ApiError
from daiic.gateway.http.json_response import json_response
from daiic.gateway.limits import STATUS_PATIENCE
from daiic.shown import MESSAGE, shown, shown_text
from daiic.wire import daiic_pb2 as pb

TASKS = "/api/cluster/tasks"
TASK = "/api/cluster/tasks/{number}"
POLICY = "/api/cluster/policy"


class RunningTask(msgspec.Struct, frozen=True):
    """A task that is not over; `worker` is empty while it waits, `hedge` if it has no second.

    `awaits` is who it waits for though others are free, as that has read its prompt.
    """

    number: int
    kind: str
    model: str
    worker: str
    hedge: str
    awaits: str
    age_ms: int
    attempts: int


class RunningTasks(msgspec.Struct, frozen=True):
    """Those that the head tells of, the oldest first; `explained` if it says why they are there."""

    tasks: list[RunningTask]
    explained: bool


class WorkerVerdict(msgspec.Struct, frozen=True):
    """What speaks for a worker or against it; `seconds` is null if they were not reckoned."""

    worker: str
    name: str
    chosen: bool
    reason: str
    seconds: float | None
    rules: list[str]


class TaskExplanation(msgspec.Struct, frozen=True):
    """Why a task is where it is; `rules` say something of the task, whatever the worker."""

    number: int
    rules: list[str]
    verdicts: list[WorkerVerdict]


class PolicyInForce(msgspec.Struct, frozen=True):
    """A policy; `loaded` is in seconds since the Epoch.

    `refused` is what is wrong with the one that should have replaced it.
    """

    name: str
    rules: int
    digest: str
    loaded: int
    text: str
    refused: str


def routes(gateway: Gateway) -> list[Route]:
    """Return the routes."""

    def route(path: str, answer: Callable[[Gateway, Request], Awaitable[msgspec.Struct]]) -> Route:
        async def endpoint(request: Request) -> Response:
            entry = AccessLogEntry.of(request.scope)
            entry.endpoint = "explain"
            check_is_admin(entry.client)
            return json_response(await answer(gateway, request))

        return Route(path, endpoint, methods=["GET"])

    return [route(TASKS, _tasks), route(TASK, _task), route(POLICY, _policy)]


async def _tasks(gateway: Gateway, _: Request) -> RunningTasks:
    status = await _status(gateway, pb.StatusTask(tasks=True))
    names = {w.heartbeat.worker_id: w.heartbeat.name for w in status.workers}

    def name(worker_id: str) -> str:
        return shown(names.get(worker_id) or worker_id)

    return RunningTasks(
        explained=bool(status.heads),  # only heads that explain tell of themselves
        tasks=[
            RunningTask(
                number=task.number,
                kind=shown(task.kind),
                model=shown(task.model),
                worker=name(task.worker_id),
                hedge=name(task.hedge_worker_id),
                awaits=name(task.awaits_worker_id),
                age_ms=task.age_ms,
                attempts=task.attempts,
            )
            for task in status.tasks
        ],
    )


async def _task(gateway: Gateway, request: Request) -> TaskExplanation:
    text = request.path_params["number"]
    if not (text.isascii() and text.isdigit() and len(text) <= 20 and 0 < int(text) < 1 << 64):
        raise ApiError(
            400, f"a task has a number, as {TASKS} tells it: {shown(text)} is none", param="number"
        )
    status = await _status(gateway, pb.StatusTask(explain=int(text)))
    if not status.HasField("explanation"):
        raise ApiError(
            404,
            f"the head tells nothing of a task {int(text)}: it is over, or the head is one that "
            "does not explain what it does, as HydraMesh does",
            code="not_found",
        )
    explained = status.explanation
    return TaskExplanation(
        number=explained.number,
        rules=_rules(explained.rules),
        verdicts=[
            WorkerVerdict(
                worker=shown(verdict.worker_id),
                name=shown(verdict.name or verdict.worker_id),
                chosen=verdict.chosen,
                reason=shown(verdict.reason, MESSAGE),
                seconds=verdict.seconds or None,
                rules=_rules(verdict.rules),
            )
            for verdict in explained.verdicts
        ],
    )


async def _policy(gateway: Gateway, _: Request) -> PolicyInForce:
    status = await _status(gateway, pb.StatusTask(policy=True))
    if not status.HasField("policy"):
        raise ApiError(404, "the head has no policy: docs/policies.md says how to give it one")
    policy = status.policy
    return PolicyInForce(
        name=shown(policy.name),
        rules=policy.rules,
        digest=shown(policy.digest),
        loaded=policy.loaded_us // 1_000_000,
        text=shown_text(policy.text),
        refused=shown_text(policy.refused, MESSAGE),
    )


def _rules(rules: Iterable[str]) -> list[str]:
    return [shown(rule, MESSAGE) for rule in rules]


async def _status(gateway: Gateway, asked: pb.StatusTask) -> pb.ClusterStatus:
    try:
        async with asyncio.timeout(STATUS_PATIENCE):
            return await gateway.cluster.status(asked)
    except TaskError as error:
        raise gateway.explain(error) from None
    except TimeoutError:
        raise ApiError(
            504, "the head does not answer: try again soon", type=SERVER, code="deadline_exceeded"
        ) from None
