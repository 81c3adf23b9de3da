"""What the text of an answer must be, as llama-server takes it.

llama-server keeps to a JSON Schema by itself. Regular expressions and Lark grammars are read by
llguidance, which PyPI's build has and most packages lack; where it is missing, a regular expression
goes the way of a JSON Schema's `pattern`, whose grammar llama-server tells, as far as that reaches.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.text.checks import bad
from daiic.worker.engines.text.constraint import check_length, schema_in, without_anchors
from daiic.worker.models.model_json import shown

LLGUIDANCE = "%llguidance {}\n"
MARK = "\N{SNOWMAN}"
"""No model begins an answer with it unless a grammar makes it."""

Complete = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
"""Sends a body to /completion and returns the reply; raises a TaskError if it is refused."""

_CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": r" \t\n\r"}
_QUOTED = re.compile(r'root ::= "\\"" (?P<inside>.*) "\\""')


async def has_llguidance(complete: Complete) -> bool:
    """Return whether the program that `complete` reaches reads Lark grammars."""
    return await _reads(complete, "start: /x/")


async def constraint_fields(
    constraint: pb.Constraint, complete: Complete, *, llguidance: bool
) -> dict[str, Any]:
    """Return the fields of a completion request whose answer keeps to `constraint`.

    `llguidance` is what `has_llguidance` said.

    Raises:
        TaskError: BAD_REQUEST if it is not valid or too large; UNSUPPORTED if this
            build of llama.cpp cannot keep to it.
    """
    form = constraint.WhichOneof("form")
    if form is None or (form == "json" and not constraint.json):
        return {}
    if form == "json":
        return {"json_schema": {"type": "object"}}
    said = getattr(constraint, form)
    check_length(said, form)
    if form == "json_schema":
        schema = schema_in(said, "json_schema")
        if not llguidance:
            await _check_schema(schema, complete)
        elif not await _reads(complete, f"start: %json {json.dumps(schema)}"):
            raise bad("`json_schema` cannot be kept to", "use what JSON Schema and llguidance know")
        return {"json_schema": schema}
    if form == "regex":
        return {"grammar": await _regex(said, complete, llguidance=llguidance)}
    if not llguidance:
        raise TaskError(
            pb.UNSUPPORTED,
            "this worker's llama.cpp was built without llguidance, which reads a `grammar`",
            "use `json_schema` or `regex`, or a worker with PyPI's xllamacpp",
        )
    if not await _reads(complete, said):
        raise bad("`grammar` is not valid", "send a grammar in Lark's notation with a rule `start`")
    return {"grammar": LLGUIDANCE + said}


async def _check_schema(schema: Any, complete: Complete) -> None:
    """Refuse a `schema` that llama-server has no grammar for, in its own words."""
    try:
        await complete({"json_schema": schema, "prompt": "x", "n_predict": 0})
    except TaskError as error:
        if error.code != pb.BAD_REQUEST:
            raise
        raise bad(
            f"`json_schema` cannot be kept to: {error.message}", "use what llama.cpp knows of it"
        ) from None


async def _regex(regex: str, complete: Complete, *, llguidance: bool) -> str:
    """Return the grammar of the texts that `regex` matches as a whole."""
    inner = without_anchors(regex)
    if llguidance:
        lark = f"start: /(?:{_with_escaped_slashes(inner)})/"
        if not await _reads(complete, lark):
            raise _cannot(regex)
        return LLGUIDANCE + lark
    schema = {"type": "string", "pattern": f"^(?:{_with_plain_classes(inner)})$"}
    try:
        reply = await complete({"json_schema": schema, "prompt": "x", "n_predict": 0})
    except TaskError as error:
        raise _cannot(regex) if error.code == pb.BAD_REQUEST else error from None
    settings = reply.get("generation_settings")
    grammar = settings.get("grammar", "") if isinstance(settings, dict) else ""
    found = _QUOTED.search(grammar)
    if found is None:  # a pattern beyond it becomes "any string"
        raise _cannot(regex)
    return grammar.replace(found[0], f"root ::= {found['inside']}")


async def _reads(complete: Complete, lark: str) -> bool:
    """Return whether `lark` is a grammar: what is not is ignored, not refused, by llama-server."""
    probe = f'{LLGUIDANCE}start: "{MARK}" %lark {{\n{lark}\n}}\n'
    try:
        reply = await complete({"grammar": probe, "prompt": "x", "n_predict": 3, "temperature": 0})
    except TaskError as error:
        if error.code == pb.BAD_REQUEST:
            return False
        raise
    return str(reply.get("content", "")).startswith(MARK)


def _with_escaped_slashes(regex: str) -> str:
    return re.sub(r"\\.|/", lambda m: r"\/" if m[0] == "/" else m[0], regex, flags=re.DOTALL)


def _with_plain_classes(regex: str) -> str:
    r"""Return `regex` with brackets for what llama-server's converter lacks: \d, \w, \s, "é"."""
    out, inside = [], False
    for piece in re.findall(r"\\.|.", regex, flags=re.DOTALL):
        if piece == "[" and not inside:
            inside = True
        elif piece == "]" and inside:
            inside = False
        members = _CLASSES.get(piece[1]) if piece.startswith("\\") and len(piece) == 2 else None
        if members is None and not piece.isascii():
            members = piece  # of a bare one, only the last byte would be repeated
        out.append(piece if members is None else members if inside else f"[{members}]")
    return "".join(out)


def _cannot(regex: str) -> TaskError:
    return TaskError(
        pb.UNSUPPORTED,
        f"this worker's llama.cpp cannot keep to the regular expression {shown(regex)}",
        "check that it is valid; use only literals, classes, groups, alternatives and repetitions",
    )
