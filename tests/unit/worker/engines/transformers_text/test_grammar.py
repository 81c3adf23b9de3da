"""Masks let through just the tokens whose text may come next, whatever tokenizer made them."""

import json
import random
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from jsonschema import validate
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.transformers_text.grammar import Grammars
from daiic.worker.engines.transformers_text.guide import Guide, Later
from daiic.worker.engines.transformers_text.guides import Guides
from daiic.worker.engines.transformers_text.rules import Rules
from daiic.worker.engines.transformers_text.transcript import Transcript
from support.models import tiny_models
from support.models.tiny_models import END, PAD, TEXT

SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def fast(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD)


def like_llama_2() -> PreTrainedTokenizerFast:
    """Return one as transformers makes it of sentencepiece's BPE: bytes where letters lack."""
    letters = sorted({SPACE, *"".join(TEXT[:1]).replace(" ", SPACE), *'{}[]":,.0123456789-'})
    names = [PAD, END, *BYTES, *letters, f"{SPACE}T", "qu", '":', f"{SPACE}{SPACE}"]
    vocabulary = {name: number for number, name in enumerate(names)}
    merges = [(SPACE, "T"), ("q", "u"), ('"', ":"), (SPACE, SPACE)]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.add_special_tokens([PAD, END])
    return fast(tokenizer)


def like_gemma() -> PreTrainedTokenizerFast:
    """Return one that keeps a space at the beginning."""
    one = like_llama_2()
    one.backend_tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    one.backend_tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    return one


def like_t5() -> PreTrainedTokenizerFast:
    """Return a unigram tokenizer with sentencepiece's mark of spaces."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="never")
    trainer = trainers.UnigramTrainer(
        vocab_size=120,
        special_tokens=[PAD, END],
        initial_alphabet=[*'{}[]":,.0123456789-\\'],
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT[:2], trainer)
    return fast(tokenizer)


TOKENIZERS: dict[str, Callable[[], PreTrainedTokenizerFast]] = {
    "byte-level BPE": tiny_models.tokenizer,
    "BPE with bytes and a space before": like_llama_2,
    "BPE with bytes": like_gemma,
    "unigram": like_t5,
}
SCHEMA = {
    "type": "object",
    "properties": {"the quick": {"type": "string", "maxLength": 4}, "n": {"enum": [1, -2.5]}},
    "required": ["the quick", "n"],
    "additionalProperties": False,
}


@pytest.fixture(params=TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Any:
    return TOKENIZERS[request.param]()


def walked(
    tokenizer: Any, constraint: pb.Constraint, seed: int, more: int = 7
) -> tuple[str, list[int]]:
    """Return a text of random allowed tokens, as an answer tells it, and these tokens.

    The model scores so many `more` tokens than the tokenizer has.
    """
    scored = len(tokenizer) + more
    end = tokenizer.eos_token_id
    grammar = Grammars(tokenizer, scored, [end]).compiled(constraint)
    assert grammar is not None
    guide, guides, source = Guide.after(Rules(grammar), 0, []), Guides(), random.Random(seed)
    transcript = Transcript(tokenizer.backend_tokenizer, stop=(), end_tokens=[end], max_tokens=500)
    try:
        while not transcript.finish_reason:
            place = len(guide.tokens)
            guides.begin([(0, guide, place)])
            scores = torch.zeros(1, scored)
            guides.apply(scores)
            guide.check()
            token = source.choice(scores[0].isfinite().nonzero().flatten().tolist())
            transcript.push(token)
            guide.made(place, Later(torch.tensor([token])), 0)
            guide.reach(place + 1)
    finally:
        guides.stop()
    assert transcript.finish_reason == pb.FINISH_REASON_STOP
    return transcript.take()[0], guide.tokens


@pytest.mark.parametrize("seed", range(3))
def test_random_walks_through_masks_give_texts_that_keep_to_them(
    tokenizer: Any, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Grammars, "_tried", lambda self, form, sources: [""] * len(sources))
    for regex in ("[a-c]{3}", "The (quick|lazy)  (brown )?dog[.,]", "a[é日🙂]{2}z", '"\\\\?[a-z]"'):
        if "🙂" in regex and "unigram" in str(type(tokenizer.backend_tokenizer.model)).lower():
            continue  # it has neither these letters nor bytes
        said, tokens = walked(tokenizer, pb.Constraint(regex=regex), seed)
        assert re.fullmatch(regex, said), said
        special = set(tokenizer.all_special_ids)
        assert not special & set(tokens[:-1]) and tokens[-1] == tokenizer.eos_token_id
    said, _ = walked(tokenizer, pb.Constraint(json_schema=json.dumps(SCHEMA)), seed)
    validate(json.loads(said), SCHEMA)


def test_a_tokenizer_may_have_more_tokens_than_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Grammars, "_tried", lambda self, form, sources: [""] * len(sources))
    said, _ = walked(tiny_models.tokenizer(), pb.Constraint(regex="[a-c]{3}"), 1, more=-40)
    assert re.fullmatch("[a-c]{3}", said)
