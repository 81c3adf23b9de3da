"""Loading a model's tokenizer."""

from pathlib import Path
from typing import Any

import transformers

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.model_json import shown
from daiic.worker.tokenizer_growth import check_growth


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


def panicked(error: BaseException) -> bool:
    """Return whether `error` is a panic of the tokenizers library, which is no `Exception`."""
    return type(error).__name__ == "PanicException"
