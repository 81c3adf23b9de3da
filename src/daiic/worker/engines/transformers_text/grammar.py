"""What the text of an answer must be, compiled so that it says which tokens may come next.

llguidance (github.com/guidance-ai/llguidance) reads JSON Schema, regular expressions and Lark
grammars, and walks the trie of a vocabulary's bytes: so it does not matter whether a tokenizer is
one of bytes or of sentencepiece, and special tokens, which stand for no text, are never allowed
unless a Lark grammar names them.
"""

import json
import signal
import subprocess
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.confinement import command
from daiic.worker.engines.text.checks import bad
from daiic.worker.engines.text.constraint import check_length, schema_in, without_anchors
from daiic.worker.engines.torch.tokenizer import panicked
from daiic.worker.engines.transformers_text import grammar_trial
from daiic.worker.engines.transformers_text.vocabulary import trie_of
from daiic.worker.limits import LIMITS

KEPT = 32
"""Grammars that are kept, or why there are none: agents send the same schema with each request."""

SECONDS = LIMITS.grammar_seconds
MEMORY = LIMITS.grammar_memory
PATIENCE = LIMITS.constraint_patience
TOO_SLOW = "its tokens take too long to be found"

BLANKS = r"( |\n[ \t]{0,20})?"
"""What may stand between the parts of a JSON text: without a bound, a model may end its days in
blanks."""

JSON_OPTIONS: Any = {"lenient": False, "coerce_one_of": False, "whitespace_pattern": BLANKS}
"""How llguidance reads JSON Schemas, as they call it themselves in `x-guidance`."""
_SILENT = 0
_SHOWN = 400


class Grammar:
    """A compiled constraint for one tokenizer, shared by all texts that must keep to it."""

    def __init__(self, form: str, start: LLMatcher, vocabulary: int) -> None:
        """`start` is the state of a text that has not begun, with masks of a `vocabulary`."""
        self.vocabulary = vocabulary
        self._form = form
        self._start = start

    def matcher(self) -> LLMatcher:
        """Return the state of a text that has not begun."""
        return self._start.deep_copy()

    def refusal(self, reason: str) -> TaskError:
        """Return the refusal of a text that could not go on, for the `reason` of its matcher."""
        return _refusal(self._form, reason)


class Grammars:
    """Compiles constraints for one tokenizer, which may take seconds; not for several threads."""

    def __init__(self, tokenizer: Any, vocabulary: int, end_tokens: Collection[int]) -> None:
        """`vocabulary` is how many tokens the model scores."""
        self._tokenizer = tokenizer
        self._size = max(vocabulary, len(tokenizer))
        self._named = {
            token: added.content for token, added in tokenizer.added_tokens_decoder.items()
        }
        self._end_tokens = sorted(end_tokens)
        self._trie: LLTokenizer | None = None
        self._made = lru_cache(KEPT)(self._make)

    def compiled(self, constraint: pb.Constraint) -> Grammar | None:
        """Return the grammar of `constraint`, `None` if it asks for nothing.

        Raises:
            TaskError: BAD_REQUEST, with the place and the reason, if it cannot be kept to;
                UNSUPPORTED if no constraint can with this model.
        """
        form = constraint.WhichOneof("form")
        if form is None or (form == "json" and not constraint.json):
            return None
        made = self._made(form, "" if form == "json" else str(getattr(constraint, form)))
        if isinstance(made, str):
            raise _refusal(form, made)
        return made

    def faults(self, grammars: Sequence[str]) -> list[str]:
        """Return what is wrong with each of some Lark `grammars`, or nothing where nothing is.

        Raises:
            TaskError: BAD_REQUEST if they are too long, or take too much together.
        """
        return self._tried("tools", [_source("grammar", one) for one in grammars])

    def matches_no_text(self, token: int) -> bool:
        """Return whether only its number stands for `token` in a grammar.

        So it is with special tokens, and with others in angle brackets.

        Raises:
            TaskError: UNSUPPORTED if there are no grammars for this model.
        """
        return bool(self._known_trie().is_special_token(token))

    def _make(self, form: str, said: str) -> Grammar | str:
        """Return the grammar for the value `said` of a constraint, or why it cannot be kept to."""
        source = _source(form, said)
        (reason,) = self._tried(form, [source])
        return reason or Grammar(form, self._matcher(form, source), self._size)

    def _tried(self, form: str, sources: Sequence[str]) -> list[str]:
        """Compile and use `sources` where it can do no harm; return what is wrong with each.

        Raises:
            TaskError: BAD_REQUEST if they take too much.
        """
        asked = {"sources": sources, "vocabulary": self._size, "named": self._named}
        line, environment = command(grammar_trial.__file__, SECONDS, MEMORY)
        try:
            tried = subprocess.run(
                line,
                input=json.dumps(asked).encode("ascii"),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                timeout=PATIENCE,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise _excessive(form, "time") from None
        if tried.returncode == -signal.SIGPROF:
            raise _excessive(form, "time")
        if tried.returncode in (-signal.SIGSEGV, -signal.SIGABRT, -signal.SIGBUS):
            raise _excessive(form, "memory")
        if tried.returncode:
            raise TaskError(
                pb.INTERNAL,
                f"the process that tries a `{form}` has failed ({tried.returncode})",
                "see how much memory the machine has left; another worker may succeed",
            )
        errors: list[str] = json.loads(tried.stdout)["errors"]
        return [_short(error) for error in errors]

    def _known_trie(self) -> LLTokenizer:
        if self._trie is None:
            self._trie = self._new_trie()
        return self._trie

    def _matcher(self, form: str, source: str) -> LLMatcher:
        trie = self._known_trie()
        try:
            matcher = LLMatcher(
                trie, source, log_level=_SILENT, limits=LLParserLimits(verbose_errors=False)
            )
        except BaseException as error:
            if not panicked(error):
                raise
            raise bad(f"`{form}` cannot be compiled", "send a simpler one") from None
        if matcher.is_error():
            raise _refusal(form, matcher.get_error())
        return matcher

    def _new_trie(self) -> LLTokenizer:
        if not self._end_tokens:
            raise _unsupported("it has no token that ends a text")
        try:
            return trie_of(self._tokenizer, self._size, self._end_tokens)
        except BaseException as error:
            if not (isinstance(error, ValueError | TypeError) or panicked(error)):
                raise
            raise _unsupported(str(error).partition("\n")[0]) from None


def _refusal(form: str, reason: str) -> TaskError:
    return bad(f"`{form}` cannot be kept to: {_short(reason)}", _REMEDIES[form])


def _short(reason: str) -> str:
    """Return what llguidance says without what it shows of the grammar."""
    reason = reason.partition("\n<")[0].strip()
    return reason if len(reason) <= _SHOWN else f"{reason[:_SHOWN]}…"


_REMEDIES = {
    "json": "leave it out",
    "json_schema": "use what llguidance knows of JSON Schema "
    "(github.com/guidance-ai/llguidance, docs/json_schema.md), or `json` alone",
    "regex": "send a regular expression as Rust's regex crate reads it, without look-around",
    "grammar": "send a Lark grammar with a rule `start`, as llguidance reads it",
}


def _source(form: str, said: str) -> str:
    """Return what llguidance compiles for the value `said` of a constraint.

    Raises:
        TaskError: BAD_REQUEST if it is too long, or no JSON Schema.
    """
    if form == "json":
        said = '{"type": "object"}'
    check_length(said, form)
    match form:
        case "regex":
            return str(LLMatcher.grammar_from_regex(without_anchors(said)))
        case "grammar":
            return str(LLMatcher.grammar_from_lark(said))
    schema = schema_in(said, form)
    return str(LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=JSON_OPTIONS))


def _excessive(form: str, what: str) -> TaskError:
    return bad(
        f"`{form}` takes too much {what} to be kept to",
        "use fewer and smaller repetitions, alternatives and rules in it",
    )


def _unsupported(reason: str) -> TaskError:
    return TaskError(
        pb.UNSUPPORTED,
        f"this model's tokenizer cannot be held to a `constraint`: {reason}",
        "choose another model, or leave the constraint out",
    )
