"""The process in which a grammar is tried before the worker compiles it; see `grammar`.

It is started as `confinement` says. The grammar is on its standard input, the
answer on its standard output: JSON with what is wrong, an `error` that may be
empty. Whoever wrote the grammar may wish the machine ill. llguidance bounds
much of what a grammar may take, but not how deeply it calls itself: then its
stack is full, and the process gone. This one has a smaller stack than the
worker's threads, little memory and little time.
"""

import json
import signal
import sys
import threading
from typing import Any

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, TokenizerWrapper

from daiic.worker.engines.confinement import confine

STACK = 1 << 20
"""Bytes: an eighth of what threads have."""
STEPS = 48
"""Bytes of a text that are tried."""
END = 256


class Bytes:
    """A vocabulary of the 256 bytes and an end."""

    eos_token_id = END
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (END,)

    def __call__(self, text: bytes) -> list[int]:
        """Return the tokens of `text`."""
        return list(text)


def fault(tokenizer: LLTokenizer, source: str) -> str:
    """Return what is wrong with the grammar `source`, compiled and walked through, or nothing."""
    limits = LLParserLimits(verbose_errors=False)
    matcher = LLMatcher(tokenizer, source, log_level=0, limits=limits)
    for step in range(STEPS):
        if matcher.is_error() or matcher.is_stopped():
            break
        mask = int.from_bytes(matcher.compute_bitmask(), "little")
        ways = [byte for byte in range(END) if mask >> byte & 1]
        if not ways:
            break
        matcher.consume_token(ways[step * 31 % len(ways)])
    return str(matcher.get_error())


def main(seconds: float, memory: int) -> None:
    """Try one grammar."""
    source = sys.stdin.read()
    tokenizer = LLTokenizer(TokenizerWrapper(Bytes()), slices=[])
    answer: dict[str, Any] = {}

    confined = threading.Event()

    def work() -> None:
        confined.wait()
        answer["error"] = fault(tokenizer, source)

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
