"""What comes before an input, by what the input is to the model: a query, a document …

Read from `prompts` and `default_prompt_name` in the file that sentence-transformers
writes, config_sentence_transformers.json.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.limits import LIMITS
from daiic.worker.models.model_json import bad_file, read_object, shown

FILE = "config_sentence_transformers.json"
_SAME = (
    ("query", "search_query", "retrieval.query", "retrieval_query"),
    ("document", "passage", "search_document", "retrieval.passage", "retrieval_document"),
    ("classification",),
    ("clustering", "separation"),
    ("text-matching", "sts", "similarity"),
)
"""Words for the same: of sentence-transformers, Cohere's `input_type` and Jina's `task`."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Prompts by name, and that for inputs of which nothing is said."""

    by_name: Mapping[str, str] = field(default_factory=dict)
    usual: str = ""

    def named(self, name: str) -> str:
        """Return the prompt `name`, or that of another word for the same; the usual one for "".

        Raises:
            TaskError: BAD_REQUEST, with the names that there are, for any other.
        """
        if not name:
            return self.usual
        if name in self.by_name:
            return self.by_name[name]
        folded = {one.lower(): prompt for one, prompt in self.by_name.items()}
        for words in _SAME:
            if name.lower() in words:
                for word in words:
                    if word in folded:
                        return folded[word]
        raise TaskError(
            pb.BAD_REQUEST,
            f"the model has no prompt {shown(name)!r}",
            f"it has: {', '.join(map(shown, self.by_name)) or 'none'}",
        )


def read(path: Path) -> Prompts:
    """Return the prompts of the model in the directory `path`.

    Raises:
        TaskError: BAD_REQUEST for files that are not valid.
    """
    file = path / FILE
    config = read_object(file) or {}
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(
        isinstance(prompt, str) and len(prompt) <= LIMITS.prompt for prompt in prompts.values()
    ):
        raise bad_file(file, "has `prompts` that are no texts of a usual length")
    usual = config.get("default_prompt_name")
    if usual is None:
        return Prompts(prompts)
    if not isinstance(usual, str) or usual not in prompts:
        raise bad_file(file, f"lacks its default prompt {shown(usual)}")
    return Prompts(prompts, prompts[usual])
