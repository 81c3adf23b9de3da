"""GET /v1/usage: what keys used, day by day, in the manner of OpenAI's organization usage API."""

import datetime
import sqlite3
from collections.abc import Sequence
from itertools import groupby

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response

from daiic.gateway.gateway import Gateway
from daiic.gateway.http.access_log import AccessLogEntry
from daiic.gateway.http.errors import SERVER, ApiError
from daiic.gateway.http.json_response import json_response
from daiic.gateway.limits import USAGE_DAYS, USAGE_RESULTS
from daiic.gateway.usage.database import Question, Used

DAY = datetime.timedelta(days=1)
USUAL_DAYS = 31
MOST_NAMED = 1000
"""Keys or models by which an answer is narrowed."""
GROUPS = {"api_key_id": "account", "model": "model"}
"""What may be asked to be told apart, and what the store calls it."""

log = structlog.get_logger()


class UsageResult(msgspec.Struct, frozen=True):
    """What was used on one day; what is not told apart is null."""

    api_key_id: str | None
    api_key_name: str | None
    model: str | None
    num_model_requests: int
    num_errors: int
    input_tokens: int
    input_cached_tokens: int
    output_tokens: int
    output_reasoning_tokens: int
    images: int
    audio_seconds: float
    embeddings: int
    object: str = "daiic.usage.result"


class UsageBucket(msgspec.Struct, frozen=True):
    """A day; times are in seconds since the Epoch."""

    start_time: int
    end_time: int
    results: list[UsageResult]
    object: str = "bucket"


class UsagePage(msgspec.Struct, frozen=True):
    """Some days, the oldest first; `next_page` is the `page` to ask for next."""

    data: list[UsageBucket]
    has_more: bool
    next_page: str | None
    object: str = "page"


async def show_usage(gateway: Gateway, request: Request) -> Response:
    """Answer GET /v1/usage: to an admin what all used, to others what they did.

    Raises:
        ApiError: 400 for a question that has no answer, 503 if the database cannot be read.
    """
    entry = AccessLogEntry.of(request.scope)
    entry.endpoint = "usage"
    query = request.query_params
    groups = _texts(request, "group_by")
    for group in groups:
        if group not in GROUPS:
            raise _bad("group_by", f"{group} is none of {', '.join(GROUPS)}")
    if query.get("bucket_width", "1d") != "1d":
        raise _bad("bucket_width", "use is counted by day: 1d")
    limit = _number(request, "limit", USUAL_DAYS, 1, USAGE_DAYS)
    tomorrow = datetime.datetime.now(datetime.UTC).date() + DAY
    last = _seconds(tomorrow)
    # A day of which only a part is asked for comes whole.
    end = _day(_number(request, "end_time", last, 0, last) - 1) + DAY
    start = _number(request, "start_time", _seconds(tomorrow - limit * DAY), 0, last)
    first = min(end, _page(query["page"]) if query.get("page") else _day(start))
    until = min(end, first + limit * DAY)
    accounts = _texts(request, "api_key_ids")
    if not entry.client.is_admin:
        accounts = tuple({entry.client.account} & set(accounts or (entry.client.account,)))
    rows: list[Used] = []
    if entry.client.is_admin or accounts:
        question = Question(
            first.isoformat(),
            until.isoformat(),
            ("day", *(GROUPS[group] for group in groups)),
            accounts,
            _texts(request, "models"),
            USAGE_RESULTS + 1,
        )
        try:
            rows = await gateway.usage.used(question)
        except sqlite3.Error as error:
            log.error("what keys used cannot be read", reason=str(error))
            raise ApiError(
                503,
                "the gateway cannot read what was used: its operator finds the reason in its log",
                type=SERVER,
                code="usage_unreadable",
            ) from None
    if len(rows) > USAGE_RESULTS:
        # The last day may not be whole, so it comes with the next page, unless it is the only one.
        cut = datetime.date.fromisoformat(rows[-1].day)
        until = cut if cut > first else first + DAY
        rows = [row for row in rows if row.day < until.isoformat()]
    page = UsagePage(
        _buckets(first, until, rows, groups),
        has_more=until < end,
        next_page=until.isoformat() if until < end else None,
    )
    return json_response(page)


def _buckets(
    first: datetime.date, until: datetime.date, rows: list[Used], groups: Sequence[str]
) -> list[UsageBucket]:
    by_day = {day: list(used) for day, used in groupby(rows, key=lambda row: row.day)}
    buckets = []
    day = first
    while day < until:
        results = [_result(row, groups) for row in by_day.get(day.isoformat(), [])]
        buckets.append(UsageBucket(_seconds(day), _seconds(day + DAY), results))
        day += DAY
    return buckets


def _result(row: Used, groups: Sequence[str]) -> UsageResult:
    amounts = row.amounts
    by_key = "api_key_id" in groups
    return UsageResult(
        api_key_id=row.account if by_key else None,
        api_key_name=row.name if by_key else None,
        model=row.model if "model" in groups else None,
        num_model_requests=amounts.requests,
        num_errors=amounts.errors,
        input_tokens=amounts.prompt_tokens,
        input_cached_tokens=amounts.cached_tokens,
        output_tokens=amounts.completion_tokens,
        output_reasoning_tokens=amounts.reasoning_tokens,
        images=amounts.images,
        audio_seconds=round(amounts.audio_seconds, 3),
        embeddings=amounts.embeddings,
    )


def _texts(request: Request, name: str) -> tuple[str, ...]:
    """Return the values of a list, in any of the ways in which clients write one."""
    values = [*request.query_params.getlist(name), *request.query_params.getlist(f"{name}[]")]
    texts = tuple(dict.fromkeys(text for value in values for text in value.split(",") if text))
    if len(texts) > MOST_NAMED:
        raise _bad(name, f"at most {MOST_NAMED} may be named")
    return texts


def _number(request: Request, name: str, default: int, least: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 12 and int(text) >= least):
        raise _bad(name, f"must be a whole number from {least}")
    return min(int(text), most)


def _page(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise _bad("page", "must be the next_page of the page before") from None


def _day(seconds: int) -> datetime.date:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).date()


def _seconds(day: datetime.date) -> int:
    """Return when a day begins, in seconds since the Epoch."""
    return int(datetime.datetime.combine(day, datetime.time(), datetime.UTC).timestamp())


def _bad(param: str, what: str) -> ApiError:
    return ApiError(400, f"{param}: {what}", param=param)
