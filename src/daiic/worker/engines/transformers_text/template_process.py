"""The process that renders one model's chat template; see `chat_template`.

It is started as `confinement` says. Frames on its socket, standard input, are
4 bytes big-endian length and JSON: first the template, then one for each
conversation, each answered by one. It ends with its socket. The template's
author may wish the machine ill: this process has little memory, a limit on its
processor time for each conversation, and may open nothing.

What a template may use is what transformers gives it
(huggingface.co/docs/transformers/chat_templating_writing).
"""

import contextlib
import datetime
import json
import os
import signal
import socket
import struct
import sys
from typing import Any

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.sandbox

from daiic.worker.engines.confinement import confine

LENGTH = struct.Struct(">I")
OUT_OF_MEMORY = 3
"""The status with which it ends if a conversation alone is too much."""
MAX_REASON = 300
"""Characters of what a template says in an error."""


class GenerationTag(jinja2.ext.Extension):
    """`{% generation %}`, which marks the assistant's words for training: what is in it, as is."""

    tags = {"generation"}  # noqa: RUF012 - jinja2 declares it so

    def parse(self, parser: Any) -> Any:
        """Return what is between the tags as a block of its own, as it has its own scope."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_inside"), [], [], body).set_lineno(line)

    def _inside(self, caller: Any) -> Any:
        return caller()


class Namespace(jinja2.utils.Namespace):
    """jinja2's, without names that begin with an underscore."""

    def __init__(*args: Any, **values: Any) -> None:
        self, *given = args  # `self` may be one of the values
        attributes = dict(*given, **values)
        for name in attributes:
            _check_name(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


class Dictionary:
    """`dict` as templates may call it."""

    def __call__(self, *args: Any, **values: Any) -> dict[Any, Any]:
        return dict(*args, **values)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """Return `dict.fromkeys` of the same arguments."""
        return dict.fromkeys(*args)


def environment() -> jinja2.Environment:
    """Return the sandbox that templates are compiled in."""
    sandbox = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, jinja2.ext.loopcontrols]
    )
    sandbox.filters["tojson"] = _tojson
    sandbox.globals.update(
        raise_exception=_raise_exception,
        strftime_now=_strftime_now,
        dict=Dictionary(),
        namespace=Namespace,
    )
    return sandbox


def _check_name(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace may not have the attribute {name!r}")


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Return `value` as JSON; jinja2's own filter would escape what HTML has a meaning for."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise_exception(message: str) -> None:
    raise jinja2.exceptions.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _warm_up(sandbox: jinja2.Environment) -> None:
    """Import now what is imported at need: later nothing can be opened."""
    sandbox.from_string("{{ strftime_now('%c') }}{{ [1] | tojson }}").render()
    with contextlib.suppress(jinja2.exceptions.TemplateError):
        sandbox.from_string("{{ raise_exception('') }}").render()


class Renderer:
    """A model's template, compiled when it is first used, under the same limits."""

    def __init__(self, sandbox: jinja2.Environment, source: str, variables: Any) -> None:
        self._sandbox = sandbox
        self._source = source
        self._variables = variables
        self._template: jinja2.Template | None = None

    def answer(self, values: dict[str, Any], most: int) -> dict[str, str]:
        """Return `text`, or why there is none: `error` of the template, or `excess`."""
        try:
            if self._template is None:
                self._template = self._sandbox.from_string(self._source)
            text = self._template.render({**self._variables, **values})
            text = text.encode("utf-8", "replace").decode("utf-8")
        except MemoryError:
            return {"excess": "too much memory"}
        except Exception as error:
            return {"error": f"{error}"[:MAX_REASON] or type(error).__name__}
        return {"text": text} if len(text) <= most else {"excess": "too long a text"}


def serve(seconds: float, memory: int) -> None:
    """Answer until the socket is closed."""
    with socket.socket(fileno=0) as link, link.makefile("rwb") as frames:
        sandbox = environment()
        _warm_up(sandbox)
        confine(memory)
        renderer: Renderer | None = None
        while head := frames.read(LENGTH.size):
            request = json.loads(frames.read(LENGTH.unpack(head)[0]))
            if renderer is None:
                renderer = Renderer(sandbox, request["template"], request["variables"])
                continue
            # Its signal ends the process, whatever C code it is in.
            signal.setitimer(signal.ITIMER_PROF, seconds)
            answer = renderer.answer(request["values"], request["most"])
            content = json.dumps(answer).encode("ascii")
            signal.setitimer(signal.ITIMER_PROF, 0)
            frames.write(LENGTH.pack(len(content)) + content)
            frames.flush()


if __name__ == "__main__":
    try:
        serve(float(sys.argv[1]), int(sys.argv[2]))
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
