"""Tokenizers that know every byte, and merge what their texts often have together."""

import json
from collections.abc import Iterable, Sequence

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers


def byte_level(
    texts: Iterable[str],
    vocabulary: int,
    specials: list[str],
    begin: str,
    *,
    marks: Sequence[str] = (),
    pieces: Sequence[pre_tokenizers.PreTokenizer] = (),
) -> Tokenizer:
    """A byte-level BPE tokenizer of `vocabulary` tokens, trained on `texts`.

    The first tokens are `specials`; `begin`, one of them, opens every text. `marks` are tokens too,
    which stay in the text when others are left out of it. `pieces` cut texts before bytes are
    merged.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [*pieces, pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[*specials, *marks],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A",
        pair=f"{begin} $A $B",
        special_tokens=[(begin, tokenizer.token_to_id(begin))],
    )
    # The trainer makes all of them special.
    content = json.loads(tokenizer.to_str())
    for token in content["added_tokens"]:
        token["special"] = token["content"] in specials
    return Tokenizer.from_str(json.dumps(content))
