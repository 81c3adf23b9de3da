"""The bytes of tokens make the text, also where a character has several tokens."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from daiic.worker.engines.transformers_text.token_bytes import TokenBytes
from support.models import tiny_gguf

TEXT = "Two cards: 2 €, naïve 🙂\n"


def byte_level():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({each: n for n, each in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def byte_fallback():
    pieces = ["<unk>", "\N{LOWER ONE EIGHTH BLOCK}", *"Twocards:2,naïve\n"]
    pieces += [f"<0x{byte:02X}>" for byte in range(256)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\N{LOWER ONE EIGHTH BLOCK}", " "), decoders.ByteFallback()]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


@pytest.mark.parametrize(
    "make",
    [byte_level, byte_fallback, lambda: AutoTokenizer.from_pretrained(tiny_gguf.TINY_CHAT)],
    ids=["bytes", "fallback", "the tiny chat model"],
)
def test_together_they_are_the_text(make) -> None:
    tokenizer = make()
    tokens = tokenizer(TEXT, add_special_tokens=False).input_ids
    told = TokenBytes(tokenizer)
    assert b"".join(told.of(token) for token in tokens).decode() == TEXT


def test_special_ones_are_their_names_and_others_nothing() -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_gguf.TINY_CHAT)
    told = TokenBytes(tokenizer)
    assert told.of(tokenizer.eos_token_id) == tokenizer.eos_token.encode()
    assert told.of(len(tokenizer) + 7) == b""
