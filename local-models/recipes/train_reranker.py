"""Makes local-models/tiny-reranker: a cross-encoder of a quarter of a million parameters.

It reads a query and a passage together and tells whether they belong together. It learns that from
the questions and answers of the corpus here, and from words of a passage among words of others.

Takes a few minutes on one processor core. Run it as
`python local-models/recipes/train_reranker.py [--out FOLDER]`; the seed is fixed.
"""

import argparse
import random
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from conversations import Exchange, read_exchanges, read_plain
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

HERE = Path(__file__).parent
SEED = 7717
VOCABULARY = 2048
CONTEXT = 256
WIDTH = 64
BATCH = 32
PEAK_RATE = 1.5e-3
PAD, UNKNOWN, BEGIN, BETWEEN = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
SHORTEST = 4
"""Letters of a word that says what a passage is about."""

Pair = tuple[str, str, float]


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A WordPiece tokenizer of small letters that knows the words of `texts`, in BERT's layout."""
    tokenizer = Tokenizer(models.WordPiece(unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, UNKNOWN, BEGIN, BETWEEN],
        initial_alphabet=[chr(code) for code in range(33, 127)],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BEGIN} $A {BETWEEN}",
        pair=f"{BEGIN} $A {BETWEEN} $B:1 {BETWEEN}:1",
        special_tokens=[(word, tokenizer.token_to_id(word)) for word in (BEGIN, BETWEEN)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token=UNKNOWN,
        cls_token=BEGIN,
        sep_token=BETWEEN,
        pad_token=PAD,
        model_max_length=CONTEXT,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> BertForSequenceClassification:
    """The untrained network. Its score, after a sigmoid, is a probability."""
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=1,
        pad_token_id=tokenizer.pad_token_id,
        sentence_transformers={"activation_fn": "torch.nn.modules.activation.Sigmoid"},
    )
    model = BertForSequenceClassification(config)
    with torch.no_grad():
        # A word attends to the same word from the start, which takes long to learn from nothing.
        model.bert.embeddings.word_embeddings.weight.mul_(5)
        for layer in model.bert.encoder.layer:
            query, key = layer.attention.self.query, layer.attention.self.key
            torch.nn.init.orthogonal_(query.weight)
            key.weight.copy_(query.weight)
    return model


def words_of(text: str) -> list[str]:
    """The words of `text` that say what it is about, in its order."""
    bare = (word.strip(".,:;?!\"'()").lower() for word in text.split())
    return [word for word in bare if len(word) >= SHORTEST]


def pairs(exchanges: list[Exchange], plain: list[str]) -> Iterator[Pair]:
    """Queries with passages, and 1 for those that belong together; half of them do.

    Every other query is a question of the corpus, and the rest are some words of a passage.
    """
    rng = random.Random(SEED)
    passages = plain + [answer for exchange in exchanges for answer in exchange.answers]
    pieces = [piece for passage in passages for piece in _pieces(passage)]
    while True:
        if rng.random() < 0.5:
            exchange, other = rng.sample(exchanges, 2)
            query = rng.choice(exchange.questions)
            right, wrong = rng.choice(exchange.answers), rng.choice(other.answers)
        else:
            right, wrong = rng.sample(pieces, 2)
            words = words_of(right)
            only = [word for word in words if word not in set(words_of(wrong))]
            if not only:
                continue
            query = " ".join(rng.sample(only, min(len(only), rng.randint(1, 4))))
            query = rng.choice(("{}", "{}?", "what about {}?", "tell me about {}")).format(query)
        yield query, right, 1.0
        yield query, wrong, 0.0


def _pieces(passage: str) -> list[str]:
    """Runs of up to three sentences of `passage`."""
    sentences = [one.strip() + "." for one in passage.split(". ") if one.strip()]
    return [
        " ".join(sentences[start : start + length])
        for length in (1, 3)
        for start in range(0, len(sentences), length)
    ]


def train(
    model: BertForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    source: Iterator[Pair],
    steps: int,
) -> None:
    """AdamW with a linear warm-up and a cosine decay to nothing; prints the loss now and then."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, steps, pct_start=0.05)
    model.train()
    started, recent = time.monotonic(), 0.0
    for step in range(1, steps + 1):
        queries, passages, labels = zip(*(next(source) for _ in range(BATCH)), strict=True)
        inputs = tokenizer(
            list(queries),
            list(passages),
            truncation="only_second",
            max_length=48,
            padding=True,
            return_tensors="pt",
        )
        scores = model(**inputs).logits[:, 0]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, torch.tensor(labels))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        recent += (loss.item() - recent) * (0.02 if step > 1 else 1)
        if step % 100 == 0 or step == 1:
            print(
                f"step {step:5} loss {recent:.3f} {time.monotonic() - started:6.0f} s", flush=True
            )
    model.eval()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=HERE.parent / "tiny-reranker")
    arguments.add_argument("--steps", type=int, default=3000)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(SEED)

    exchanges = read_exchanges(HERE / "corpus")
    plain = read_plain(HERE / "corpus" / "plain")
    texts = plain + [text for one in exchanges for text in one.questions + one.answers]
    tokenizer = train_tokenizer(texts)
    model = new_model(tokenizer)
    print(f"{model.num_parameters():,} parameters, {len(exchanges)} exchanges")
    train(model, tokenizer, pairs(exchanges, plain), given.steps)

    model.to(torch.bfloat16).save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
