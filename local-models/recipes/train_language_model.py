"""Makes local-models/daiic-tiny-chat: a Llama of two million parameters trained on the corpus here.

Takes twenty to thirty minutes on one processor core. Run it as
`python local-models/recipes/train_language_model.py [--out FOLDER]`; the seed is fixed.
"""

import argparse
import itertools
import json
import math
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from byte_level import byte_level
from conversations import conversations, counting, read_exchanges, read_plain
from tokenizers import Regex, pre_tokenizers
from tool_conversations import thought, tool_conversations
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).parent
SEED = 7717
VOCABULARY = 2048
CONTEXT = 1024
BATCH = 2
PEAK_RATE = 2.5e-3
PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
SPECIALS = [PAD, BEGIN, END, "<|system|>", "<|user|>", "<|assistant|>", "<|tool|>"]
MARKS = ["<tools>", "</tools>", "<think>", "</think>", "<tool_call>", "</tool_call>"]
"""Tokens too, which stay in the text that others are made into."""
CHAT_TEMPLATE = (HERE / "chat_template.jinja").read_text().strip()


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that knows every byte, trained on `texts`."""
    # What is copied from a question is the same tokens where it stands in quotes.
    pieces = [
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.Split(Regex(r" (?=\p{Lu})"), "isolated"),
    ]
    return PreTrainedTokenizerFast(
        tokenizer_object=byte_level(texts, VOCABULARY, SPECIALS, BEGIN, marks=MARKS, pieces=pieces),
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        chat_template=CHAT_TEMPLATE,
        model_max_length=CONTEXT,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )


def _said(message: dict[str, Any]) -> str:
    """Everything in a message."""
    calls = json.dumps([call["function"] for call in message.get("tool_calls", ())])
    return f"{message['content']} {message.get('reasoning_content', '')} {calls}"


def new_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """The untrained network. All widths are multiples of 64, so that 4-bit blocks fit."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def samples(
    tokenizer: PreTrainedTokenizerFast, plain: list[str]
) -> Iterator[tuple[list[int], list[bool]]]:
    """Token ids of one chat or text after another, and which of them are to be learned."""
    rng = random.Random(SEED)
    exchanges = read_exchanges(HERE / "corpus") + counting()
    chats = conversations(exchanges, SEED)
    calling = tool_conversations(exchanges, SEED)
    while True:
        kind = rng.random()
        if kind < 0.07:
            words = rng.choice(plain).split(" ")
            start = rng.randrange(max(1, len(words) - 20)) if rng.random() < 0.5 else 0
            ids = tokenizer(" ".join(words[start : start + 150]) + END)["input_ids"]
            yield ids, [False] + [True] * (len(ids) - 1)
            continue
        if kind < 0.55:
            messages, tools = next(chats), None
            if kind < 0.13:
                for asked, answered in itertools.pairwise(messages):
                    if asked["role"] == "user":
                        answered["reasoning_content"] = thought(asked["content"])
        else:
            messages, tools = next(calling)
        chat = tokenizer.apply_chat_template(
            messages, tools=tools, return_dict=True, return_assistant_tokens_mask=True
        )
        yield chat["input_ids"], [bool(mine) for mine in chat["assistant_masks"]]


def batches(
    tokenizer: PreTrainedTokenizerFast, plain: list[str]
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and labels, int64 of shape (BATCH, CONTEXT): samples end to end, cut at the right."""
    source = samples(tokenizer, plain)
    while True:
        ids = torch.full((BATCH, CONTEXT), tokenizer.pad_token_id)
        labels = torch.full((BATCH, CONTEXT), -100)
        for row in range(BATCH):
            used = 0
            while used < CONTEXT - 40:
                tokens, learned = next(source)
                tokens, learned = tokens[: CONTEXT - used], learned[: CONTEXT - used]
                span = slice(used, used + len(tokens))
                ids[row, span] = torch.tensor(tokens)
                labels[row, span] = torch.where(torch.tensor(learned), ids[row, span], -100)
                used += len(tokens)
        yield ids, labels


def train(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, plain: list[str], steps: int
) -> None:
    """Muon, and AdamW for what is no matrix, with a linear warm-up and a decay to nothing.

    Prints the loss now and then.
    """
    matrices = [weight for weight in model.model.layers.parameters() if weight.ndim == 2]
    known = {id(weight) for weight in matrices}
    rest = [weight for weight in model.parameters() if id(weight) not in known]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.Muon(matrices, lr=PEAK_RATE, weight_decay=0.05, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.05),
    ]

    def share(step: int) -> float:
        return min((step + 1) / 40, (1 + math.cos(math.pi * step / steps)) / 2)

    schedules = [torch.optim.lr_scheduler.LambdaLR(one, share) for one in optimizers]
    model.train()
    started = time.monotonic()
    for step, (ids, labels) in enumerate(itertools.islice(batches(tokenizer, plain), steps), 1):
        following = labels[:, 1:]
        learned = following != -100
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model.model(input_ids=ids).last_hidden_state[:, :-1][learned]
            logits = model.lm_head(hidden)
        loss = torch.nn.functional.cross_entropy(logits.float(), following[learned])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for one in (*optimizers, *schedules):
            one.step()
        model.zero_grad(set_to_none=True)
        if step % 50 == 0 or step == 1:
            print(f"step {step:5} loss {loss:.3f} {time.monotonic() - started:6.0f} s", flush=True)
    model.eval()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=HERE.parent / "daiic-tiny-chat")
    arguments.add_argument("--steps", type=int, default=2500)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(SEED)

    exchanges = read_exchanges(HERE / "corpus") + counting()
    plain = [answer for exchange in exchanges for answer in exchange.answers]
    plain += read_plain(HERE / "corpus" / "plain")
    questions = [question for exchange in exchanges for question in exchange.questions]
    calls = [
        said
        for messages, tools in itertools.islice(tool_conversations(exchanges, SEED), 500)
        for said in [*map(json.dumps, tools), *map(_said, messages)]
    ]
    tokenizer = train_tokenizer(
        8 * (plain + questions + [question.capitalize() for question in questions]) + calls
    )
    model = new_model(tokenizer)
    print(f"{model.num_parameters():,} parameters, {len(exchanges)} exchanges")
    train(model, tokenizer, plain, given.steps)

    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.5,
        top_p=0.9,
        top_k=50,
        max_new_tokens=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.to(torch.bfloat16).save_pretrained(given.out)
    tokenizer.save_pretrained(given.out)
    print(f"wrote {given.out}")


if __name__ == "__main__":
    main()
