"""The process in which grammars are tried before the worker compiles them; see `grammar`.

It is started as `confinement` says. On its standard input is JSON with the
`sources` of grammars, the size of the `vocabulary` that they are for, and how
its special tokens are `named`; on its standard output JSON with the `errors` of
each, which may be empty. Whoever wrote them may wish the machine ill.
llguidance bounds much of what a grammar may take, but not how deeply it calls
itself: then its stack is full, and the process gone. This one has a smaller
stack than the worker's threads, little memory and little time.
"""

import json
import signal
import sys
import threading
from collections.abc import Iterable

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from daiic.worker.engines.confinement import confine

STACK = 1 << 20
"""Bytes: an eighth of what threads have."""
STEPS = 48
"""Bytes of a text that are tried."""


class Bytes:
    """A vocabulary of `named` tokens that stand for no text, and after them the bytes and an end.

    The others of its first `size` tokens stand for nothing.
    """

    bos_token_id = None

    def __init__(self, size: int, named: dict[int, str]) -> None:
        self.tokens = [b""] * size
        for token, name in named.items():
            self.tokens[token] = name.encode()
        self.tokens += [*(bytes([byte]) for byte in range(256)), b"<end>"]
        self.first = size
        self.eos_token_id = size + 256
        self.special_token_ids = [*named, self.eos_token_id]

    def __call__(self, text: bytes) -> list[int]:
        """Return the tokens of `text`."""
        return [self.first + byte for byte in text]


def fault(tokenizer: LLTokenizer, source: str, first: int, named: Iterable[int]) -> str:
    """Return what is wrong with the grammar `source`, compiled and walked through, or nothing.

    Its walk takes bytes, whose tokens begin with the `first`, or else `named` tokens.
    """
    limits = LLParserLimits(verbose_errors=False)
    matcher = LLMatcher(tokenizer, source, log_level=0, limits=limits)
    for step in range(STEPS):
        if matcher.is_error() or matcher.is_stopped():
            break
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        ways = [first + byte for byte in range(256) if mask >> (first + byte) & 1]
        ways = ways or [token for token in named if mask >> token & 1]
        if not ways:
            break
        matcher.consume_token(ways[step * 31 % len(ways)])
    return str(matcher.get_error())


def main(seconds: float, memory: int) -> None:
    """Try grammars, which together may take so many `seconds`."""
    asked = json.load(sys.stdin)
    named = {int(token): str(name) for token, name in asked["named"].items()}
    size = int(asked["vocabulary"])
    tokenizer = LLTokenizer(TokenizerWrapper(Bytes(size, named)), slices=[])
    answer: dict[str, list[str]] = {}
    confined = threading.Event()

    def work() -> None:
        confined.wait()
        answer["errors"] = [fault(tokenizer, one, size, named) for one in asked["sources"]]

    threading.stack_size(STACK)
    thread = threading.Thread(target=work)
    thread.start()
    confine(memory)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    confined.set()
    thread.join()
    print(json.dumps(answer))


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
