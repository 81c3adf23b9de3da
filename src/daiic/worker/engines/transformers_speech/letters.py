"""From a sentence to a VITS's tokens: one for each character, with blanks between them."""

from pathlib import Path

from transformers import VitsTokenizer

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.model_json import bad_file, read_object

MOST_LETTERS = 4096
NEEDS = {
    "phonemize": "phonemes, which the phonemizer library makes",
    "is_uroman": "Latin letters, which the uroman program makes",
}
"""What some tokenizers need and workers do not have."""


class Letters:
    """A checked tokenizer."""

    def __init__(self, tokenizer: VitsTokenizer, vocabulary: int) -> None:
        self._tokenizer = tokenizer
        self._known = range(vocabulary)
        self._blank = 0

    def tokens_of(self, sentence: str) -> list[int]:
        """Return the tokens of `sentence`, or nothing if no character of it can be said."""
        tokens = [n for n in self._tokenizer(sentence).input_ids if n in self._known]
        return tokens if any(token != self._blank for token in tokens) else []


def read_letters(path: Path, vocabulary: int) -> Letters:
    """Return the tokenizer of the model in the directory `path`, which knows so many tokens.

    Raises:
        TaskError: BAD_REQUEST if it is not valid, or needs what workers do not have.
    """
    letters = read_object(path / "vocab.json")
    config = read_object(path / "tokenizer_config.json") or {}
    if letters is None:
        raise bad_file(path / "vocab.json", "is missing")
    if len(letters) > MOST_LETTERS or not all(
        type(number) is int and 0 <= number < vocabulary for number in letters.values()
    ):
        raise bad_file(path / "vocab.json", "does not fit config.json")
    for name, what in NEEDS.items():
        if config.get(name):
            raise TaskError(
                pb.BAD_REQUEST,
                f"{path.name} takes its texts as {what}",
                "choose a model that takes letters, such as facebook/mms-tts-eng",
            )
    return Letters(
        VitsTokenizer(
            vocab_file=str(path / "vocab.json"),
            pad_token=str(config.get("pad_token") or "<pad>"),
            unk_token=str(config.get("unk_token") or "<unk>"),
            language=str(config.get("language") or ""),
            add_blank=config.get("add_blank", True) is not False,
            normalize=config.get("normalize", True) is not False,
            phonemize=False,
            is_uroman=False,
        ),
        vocabulary,
    )
