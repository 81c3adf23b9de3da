"""The vocabulary of a tokenizer as llguidance walks it: the bytes of each token."""

from collections.abc import Sequence
from typing import Any

import llguidance.hf
from llguidance import LLTokenizer, TokenizerWrapper

from daiic.worker.engines.transformers_text.token_bytes import TokenBytes


def trie_of(tokenizer: Any, size: int, end_tokens: Sequence[int]) -> LLTokenizer:
    """Return the trie of the `size` tokens of a fast `tokenizer`; takes some seconds.

    llguidance reads most tokenizers by itself. Those that it cannot, such as unigram ones whose
    decoder is a Metaspace, are told token by token.

    Raises:
        ValueError, TypeError: if that cannot be done.
    """
    try:
        return llguidance.hf.from_tokenizer(tokenizer, n_vocab=size, eos_token=list(end_tokens))
    except ValueError:
        told = TokenizerWrapper(_Told(tokenizer, size, end_tokens))
        return LLTokenizer(told, eos_token=list(end_tokens))


class _Told:
    """What TokenizerWrapper wants to know."""

    bos_token_id = None

    def __init__(self, tokenizer: Any, size: int, end_tokens: Sequence[int]) -> None:
        self.eos_token_id = end_tokens[0]
        self.tokens = list(map(TokenBytes(tokenizer).of, range(size)))
        self.special_token_ids = sorted(tokenizer.added_tokens_decoder)
        self._tokenizer = tokenizer

    def __call__(self, text: bytes) -> list[int]:
        """Return the tokens of `text`."""
        said = text.decode("utf-8", "replace")
        return list(self._tokenizer(said, add_special_tokens=False).input_ids)
