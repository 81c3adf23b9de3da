"""How the text of one answer is taken apart."""

import hashlib
import string
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from daiic.worker.engines.text.formats.events import Reader

_ALPHABET = string.ascii_letters + string.digits
_ID_LENGTH = 24


@dataclass(frozen=True, slots=True)
class Reading:
    """What reads an answer: `reader`, of the text of all tokens but those that are `skipped`.

    `call_id` tells the ids of calls by their place; after `most_calls` the answer ends.
    """

    reader: Reader
    skipped: Collection[int]
    call_id: Callable[[int], str]
    most_calls: int


def call_ids(seed: int, prompt: Sequence[int], length: int) -> Callable[[int], str]:
    """Return what tells the id of a call by its place in an answer.

    The same answer to the same prompt has the same ids wherever it is made. They have `length`
    letters and digits if the model's template wants so many, else OpenAI's form.
    """

    def call_id(index: int) -> str:
        what = f"{seed}:{','.join(map(str, prompt))}:{index}".encode()
        number = int.from_bytes(hashlib.sha256(what).digest(), "big")
        digits = []
        for _ in range(length or _ID_LENGTH):
            number, digit = divmod(number, len(_ALPHABET))
            digits.append(_ALPHABET[digit])
        return "".join(digits) if length else "call_" + "".join(digits)

    return call_id
