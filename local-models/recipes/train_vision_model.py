"""Makes local-models/tiny-vision: a LLaVA of a million parameters that tells drawn shapes apart.

A vision tower (SigLIP's) reads a drawing in 16 patches, and a Llama talks about them; both learn
from the conversations in `picture_talk`. Takes about a quarter of an hour on one processor core.
Run it as `python local-models/recipes/train_vision_model.py [--out FOLDER]`; the seed is fixed.
"""

import argparse
import itertools
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from byte_level import byte_level
from picture_talk import INTRODUCTION, NOTHING, NewDrawing, name, story, talk
from shapes import (
    ASKED_COLOURS,
    ASKED_SHAPES,
    SIZE,
    Drawing,
    any_drawing,
    draw,
    drawing_on_request,
)
from torch.nn.functional import cross_entropy
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    SiglipVisionConfig,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

HERE = Path(__file__).parent
SEED = 7737
VOCABULARY = 512
CONTEXT = 2048
PATCH = 16  # pixels; each is a token
BATCH = 24
NAMED = 3072  # drawings by which the vision tower is sharpened
NAMED_AT_ONCE = 64
SHARPENED = (400, 600)  # steps, in rounds with other drawings
TALKS = 6  # conversations beside them
SORTED = 8  # batches of conversations that are sorted by length, so that little is padded
PEAK_RATE = 1.5e-3
SHARPEN_RATE = 1.5e-3
PAD, BEGIN, END, IMAGE = "<|pad|>", "<|begin|>", "<|end|>", "<image>"
SPECIALS = [PAD, BEGIN, END, IMAGE, "<|system|>", "<|user|>", "<|assistant|>"]

# `{% generation %}` marks the assistant's own words, the only ones that are learned.
CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message.role not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('roles are system, user and assistant, not ' + message.role) }}"
    "{% endif %}"
    "{{ '<|' + message.role + '|>' }}"
    "{% if message.role == 'assistant' %}"
    "{% generation %}"
    "{% if message.content is string %}{{ message.content }}"
    "{% else %}{% for part in message.content %}{{ part.text }}{% endfor %}{% endif %}"
    "{{ eos_token }}{% endgeneration %}"
    "{% elif message.content is string %}{{ message.content + eos_token }}"
    "{% else %}"
    "{% for part in message.content %}"
    "{{ '<image>' if part.type == 'image' else part.text }}"
    "{% endfor %}"
    "{{ eos_token }}"
    "{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def new_processor(rng: random.Random) -> LlavaProcessor:
    """What turns drawings into pixels and conversations into tokens."""
    texts = [INTRODUCTION, NOTHING]
    for _ in range(2000):
        texts += [
            part.get("text", "") for m in talk(rng, any_drawing).messages for part in m["content"]
        ]
    texts += [story(any_drawing(rng)) for _ in range(200)]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level(texts, VOCABULARY, SPECIALS, BEGIN),
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        extra_special_tokens={"image_token": IMAGE},
        model_max_length=CONTEXT,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
    return LlavaProcessor(
        image_processor=SiglipImageProcessorPil(size={"height": SIZE, "width": SIZE}),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="full",
        chat_template=CHAT_TEMPLATE,
    )


def new_model(processor: LlavaProcessor) -> LlavaForConditionalGeneration:
    """The untrained network. All widths are multiples of 64, so that 4-bit blocks fit."""
    tokenizer = processor.tokenizer
    ends = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    config = LlavaConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            image_size=SIZE,
            patch_size=PATCH,
            vision_use_head=False,
        ),
        text_config=LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=320,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=32,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            **ends,
        ),
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        image_seq_length=(SIZE // PATCH) ** 2,
        vision_feature_layer=-1,
        vision_feature_select_strategy="full",
        tie_word_embeddings=True,
        **ends,
    )
    return LlavaForConditionalGeneration(config)


def batches(
    processor: LlavaProcessor, rng: random.Random, new: NewDrawing, size: int
) -> Iterator[dict[str, torch.Tensor]]:
    """Tokens, labels and pixels of `size` conversations at a time, about what `new` draws."""
    tokenizer = processor.tokenizer
    # A placeholder for each drawing is made one for each of its patches.
    template = CHAT_TEMPLATE.replace("'<image>'", f"'{IMAGE * (SIZE // PATCH) ** 2}'")
    while True:
        rows = []
        for _ in range(SORTED * size):
            made = talk(rng, new)
            encoded = tokenizer.apply_chat_template(
                made.messages,
                chat_template=template,
                return_dict=True,
                return_assistant_tokens_mask=True,
            )
            rows.append((encoded["input_ids"], encoded["assistant_masks"], made.drawings))
        rows.sort(key=lambda row: len(row[0]))
        starts = list(range(0, len(rows), size))
        rng.shuffle(starts)
        for start in starts:
            yield _together(rows[start : start + size], tokenizer.pad_token_id, rng)


def _together(
    rows: list[tuple[list[int], list[int], list[Drawing]]], pad: int, rng: random.Random
) -> dict[str, torch.Tensor]:
    longest = max(len(tokens) for tokens, _, _ in rows)
    ids = torch.full((len(rows), longest), pad)
    labels = torch.full((len(rows), longest), -100)
    for place, (tokens, learned, _) in enumerate(rows):
        ids[place, : len(tokens)] = torch.tensor(tokens)
        own = torch.tensor(learned, dtype=torch.bool)
        labels[place, : len(tokens)] = torch.where(own, torch.tensor(tokens), -100)
    drawn = [draw(drawing, rng) for _, _, drawings in rows for drawing in drawings]
    given = {"input_ids": ids, "labels": labels}
    return given | {"pixel_values": worn(torch.stack(drawn), rng)} if drawn else given


def worn(pixels: torch.Tensor, rng: random.Random) -> torch.Tensor:
    """Drawings as they come from elsewhere: a little lighter or darker, tinted, with some noise."""
    generator = torch.Generator().manual_seed(rng.randrange(1 << 32))
    count = len(pixels)
    tint = 0.08 * torch.randn(count, 3, 1, 1, generator=generator)
    noise = 0.06 * torch.rand(count, 1, 1, 1, generator=generator)
    return (pixels + tint + noise * torch.randn(pixels.shape, generator=generator)).clamp(-1, 1)


def train(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, rng: random.Random, steps: int
) -> None:
    """AdamW with a linear warm-up and a cosine decay to nothing; prints the loss now and then."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.05
    )
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.02, total_iters=60)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - 60)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warm_up, decay], [60])
    model.train()
    started = time.monotonic()
    learned = itertools.islice(batches(processor, rng, any_drawing, BATCH), steps)
    for step, given in enumerate(learned, 1):
        loss = model(**given).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % 25 == 0 or step == 1:
            print(f"step {step:5} loss {loss:.3f} {time.monotonic() - started:6.0f} s", flush=True)
    model.eval()


def sharpen(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, rng: random.Random, steps: int
) -> None:
    """Have the vision tower tell by itself which shape and colour a drawing has, while all go on.

    What is said of a drawing teaches colours soon, and shapes slowly: so a head that is thrown away
    afterwards names them from the mean of the tower's patches.
    """
    tower = model.model.vision_tower
    head = torch.nn.Linear(tower.config.hidden_size, len(ASKED_SHAPES) + len(ASKED_COLOURS))
    learned = [*model.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(learned, lr=SHARPEN_RATE, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, SHARPEN_RATE, total_steps=steps, pct_start=0.1
    )
    drawings = [drawing_on_request(rng) for _ in range(NAMED)]
    pixels = torch.stack([draw(drawing, rng) for drawing in drawings])
    shape = torch.tensor([ASKED_SHAPES.index(drawing.shape) for drawing in drawings])
    colour = torch.tensor([ASKED_COLOURS.index(drawing.colour) for drawing in drawings])
    model.train()
    talks = batches(processor, rng, drawing_on_request, TALKS)
    generator = torch.Generator().manual_seed(SEED)
    right, started = 0.0, time.monotonic()
    for step, given in enumerate(itertools.islice(talks, steps), 1):
        chosen = torch.randint(NAMED, (NAMED_AT_ONCE,), generator=generator)
        moved = torch.roll(pixels[chosen], [rng.randint(-3, 3), rng.randint(-3, 3)], (2, 3))
        if rng.random() < 0.5:
            moved = moved.flip(3)
        guess = head(tower(pixel_values=worn(moved, rng)).last_hidden_state.mean(1))
        shapes, colours = guess.split([len(ASKED_SHAPES), len(ASKED_COLOURS)], dim=1)
        named = cross_entropy(shapes, shape[chosen]) + cross_entropy(colours, colour[chosen])
        loss = model(**given).loss
        (loss + named).backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        right += (shapes.argmax(1) == shape[chosen]).float().mean().item() / 25
        if step % 25 == 0:
            seconds = time.monotonic() - started
            print(f"step {step:5} loss {loss:.3f} shapes {right:.1%} {seconds:6.0f} s", flush=True)
            right = 0.0
    model.eval()


@torch.inference_mode()
def share_named(model: Any, processor: LlavaProcessor, rng: random.Random, count: int) -> float:
    """Which share of `count` new drawings the model calls by their names."""
    prompt = processor.apply_chat_template(
        [
            {
                "role": "user",
                "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}],
            }
        ],
        add_generation_prompt=True,
    ).replace(IMAGE, IMAGE * (SIZE // PATCH) ** 2)
    ids = torch.tensor([processor.tokenizer(prompt, add_special_tokens=False).input_ids] * count)
    drawings = [drawing_on_request(rng) for _ in range(count)]
    pixels = torch.stack([draw(drawing, rng) for drawing in drawings])
    made = model.generate(input_ids=ids, pixel_values=pixels.to(model.dtype), max_new_tokens=16)
    said = processor.tokenizer.batch_decode(made[:, ids.shape[1] :], skip_special_tokens=True)
    return sum(text == name(drawing) for text, drawing in zip(said, drawings, strict=True)) / count


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=HERE.parent / "tiny-vision")
    arguments.add_argument("--steps", type=int, default=2000)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(SEED)
    rng = random.Random(SEED)

    processor = new_processor(rng)
    model = new_model(processor)
    print(f"{model.num_parameters():,} parameters")
    train(model, processor, rng, given.steps)
    for number, steps in enumerate(SHARPENED):
        sharpen(model, processor, random.Random(SEED + 7 * number), steps)

    tokenizer = processor.tokenizer
    model.generation_config = GenerationConfig(
        max_new_tokens=512,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model.to(torch.bfloat16).save_pretrained(given.out)
    processor.save_pretrained(given.out)
    named = share_named(model, processor, random.Random(SEED + 1), 500)
    print(f"wrote {given.out}; it names {named:.1%} of 500 new drawings")


if __name__ == "__main__":
    main()
