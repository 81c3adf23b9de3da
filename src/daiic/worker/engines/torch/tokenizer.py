"""Loading a model's tokenizer, and telling cheaply that a text is too long for the model.

While a text is made into tokens each takes some 250 bytes, so it must be known before.
"""

from pathlib import Path
from typing import Any

import transformers

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.tokenizer_growth import check_growth
from daiic.worker.models.model_json import shown

PIECE = 1 << 16
"""Characters of a text that are made into tokens at once to see how many there are."""
AT_A_CUT = 64
"""Tokens that a text may have more for being cut."""


def load_tokenizer(path: Path) -> Any:
    """Return the tokenizer in the model directory `path`, used once so that it is at rest.

    Raises:
        TaskError: BAD_REQUEST if there is none that the tokenizers library can run.
    """
    check_growth(path)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            path, trust_remote_code=False, local_files_only=True
        )
        if tokenizer.is_fast:
            # The first call sets padding and truncation, which other threads must not meet.
            tokenizer("")
            return tokenizer
        reason = f"{type(tokenizer).__name__} has no tokenizer.json"
    except BaseException as error:
        if isinstance(error, MemoryError) or not (isinstance(error, Exception) or panicked(error)):
            raise
        reason = shown(next(iter(str(error).splitlines()), type(error).__name__))
    raise TaskError(
        pb.BAD_REQUEST,
        f"{path.name} has no tokenizer that can be used: {reason}",
        "choose a model that comes with a tokenizer.json",
    )


def is_longer(tokenizer: Any, text: str, most: int) -> bool:
    """Return whether `text` surely has more than `most` tokens; takes memory for a piece only."""
    if len(text) <= max(most, PIECE):
        return False
    count = 0
    for start in range(0, len(text), PIECE):
        piece = text[start : start + PIECE]
        count += len(tokenizer(piece, add_special_tokens=False).input_ids) - AT_A_CUT
        if count > most:
            return True
    return False


def panicked(error: BaseException) -> bool:
    """Return whether `error` is a panic of the tokenizers library, which is no `Exception`."""
    return type(error).__name__ == "PanicException"
