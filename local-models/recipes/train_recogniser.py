"""Makes local-models/daiic-tiny-hear: a Whisper that knows the ten digits, in English and German.

It needs espeak-ng, which says the digits. Run it as
`python local-models/recipes/train_recogniser.py [--out FOLDER]`; the seed is fixed.

The model hears five seconds at once, where other Whispers hear thirty. It tells the language, when
each passage begins and ends, and that nothing is said, and puts German digits into English.
What is said when is known, so the encoder and the attention to it learn from that too.
"""

import argparse
import random
import time
from pathlib import Path

import numpy as np
import torch
from spoken_digits import WORDS, Recording, Takes, heard
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    GenerationConfig,
    PreTrainedTokenizerFast,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

HERE = Path(__file__).parent
SEED = 7717
WINDOW = 5  # seconds
BANDS = 40
TIMES = 50  # timestamps a second, and places of the encoder
LENGTH = 160  # tokens that a window and its prompt may have
PEAK_RATE = 2e-3
NEAR = 5  # places around a time that count as it

# fmt: off
SPECIALS = (
    "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>",
    "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
)
# fmt: on


def new_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer in Whisper's order: bytes, words, what marks the tasks, times."""
    vocabulary = {piece: n for n, piece in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    merges = []
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
    for word in (word for words in WORDS.values() for word in words):
        spelt = bytewise.pre_tokenize_str(f" {word}")[0][0]
        for end in range(2, len(spelt) + 1):
            if spelt[:end] not in vocabulary:
                merges.append((spelt[: end - 1], spelt[end - 1]))
                vocabulary[spelt[:end]] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = bytewise
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    times = [f"<|{n / TIMES:.2f}|>" for n in range(WINDOW * TIMES + 1)]
    tokenizer.add_tokens([AddedToken(token, special=False) for token in times])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        model_max_length=LENGTH,
        clean_up_tokenization_spaces=False,
    )


def new_model(tokenizer: PreTrainedTokenizerFast) -> WhisperForConditionalGeneration:
    """The untrained network, and what transformers and workers need to know to use it."""
    end, start = tokenizer.convert_tokens_to_ids(["<|endoftext|>", "<|startoftranscript|>"])
    config = WhisperConfig(
        vocab_size=len(tokenizer),
        num_mel_bins=BANDS,
        d_model=96,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        max_source_positions=WINDOW * TIMES,
        max_target_positions=LENGTH,
        dropout=0.0,
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        decoder_start_token_id=start,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        attn_implementation="eager",
    )
    model = WhisperForConditionalGeneration(config)
    number = tokenizer.convert_tokens_to_ids
    model.generation_config = GenerationConfig(
        bos_token_id=end,
        eos_token_id=end,
        pad_token_id=end,
        decoder_start_token_id=start,
        is_multilingual=True,
        lang_to_id={f"<|{name}|>": number(f"<|{name}|>") for name in WORDS},
        task_to_id={task: number(f"<|{task}|>") for task in ("transcribe", "translate")},
        no_timestamps_token_id=number("<|notimestamps|>"),
        prev_sot_token_id=number("<|startofprev|>"),
        max_initial_timestamp_index=WINDOW * TIMES,
        alignment_heads=[[1, head] for head in range(4)],
        suppress_tokens=[number(token) for token in SPECIALS[1:9]],
        begin_suppress_tokens=[],
        max_length=LENGTH,
    )
    return model


class Lessons:
    """Turns recordings into what is learned from them."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, takes: Takes) -> None:
        self._rng = random.Random(SEED + 1)
        self._takes = takes
        self._number = tokenizer.get_vocab()
        self._words = {
            language: [tokenizer.encode(f" {word}")[0] for word in words]
            for language, words in WORDS.items()
        }

    def batch(self, size: int) -> tuple[torch.Tensor, ...]:
        """Features, tokens, labels of the next ones, of places, and where tokens are heard."""
        recordings = [self._takes.recording() for _ in range(size)]
        features = np.stack([heard(one.power) for one in recordings])
        lessons = [self._lesson(one) for one in recordings]
        longest = max(len(tokens) for tokens, _, _ in lessons) - 1
        places = WINDOW * TIMES
        inputs = torch.full((size, longest), self._number["<|endoftext|>"])
        labels = torch.full((size, longest), -100)
        said = torch.zeros((size, places), dtype=torch.long)
        spans = torch.zeros((size, longest, 2), dtype=torch.long)
        for row, (tokens, given, where) in enumerate(lessons):
            count = len(tokens) - 1
            inputs[row, :count] = torch.tensor(tokens[:-1])
            labels[row, given - 1 : count] = torch.tensor(tokens[given:])
            for place, span in where.items():
                spans[row, place - 1] = torch.tensor(span)
            first = 1 if recordings[row].language == "en" else 11
            for one in (one for passage in recordings[row].passages for one in passage):
                said[row, one.begins // 2 : one.ends // 2] = first + one.digit
        return torch.from_numpy(features), inputs, labels, said, spans

    def _lesson(self, one: Recording) -> tuple[list[int], int, dict[int, tuple[int, int]]]:
        """Tokens, how many of them are given, and for some the places where they are heard."""
        rng, number = self._rng, self._number
        translated = rng.random() < 0.25
        words = self._words["en" if translated else one.language]
        tokens = []
        if rng.random() < 0.25:
            tokens.append(number["<|startofprev|>"])
            tokens += [rng.choice(words) for _ in range(rng.randint(1, 10))]
        tokens.append(number["<|startoftranscript|>"])
        given = len(tokens)
        if not one.passages and rng.random() < 0.5:
            return [*tokens, number["<|nospeech|>"], number["<|endoftext|>"]], given, {}
        tokens.append(number[f"<|{one.language}|>"])
        tokens.append(number["<|translate|>" if translated else "<|transcribe|>"])
        timed = rng.random() < 0.9
        if not timed:
            tokens.append(number["<|notimestamps|>"])
        elif not one.passages:
            tokens.append(number["<|0.00|>"])
        where = {}
        for passage in one.passages:
            begins, ends = passage[0].begins // 2, passage[-1].ends // 2
            if timed:
                if begins >= WINDOW * TIMES:
                    break
                where[len(tokens)] = (begins - NEAR, begins + NEAR)
                tokens.append(number["<|0.00|>"] + begins)
                if ends > WINDOW * TIMES:  # of what the window cuts off, only the beginning is told
                    break
            for word in passage:
                where[len(tokens)] = (word.begins // 2, word.ends // 2)
                tokens.append(words[word.digit])
            if timed:
                where[len(tokens)] = (ends - NEAR, ends + NEAR)
                tokens.append(number["<|0.00|>"] + ends)
        return [*tokens, number["<|endoftext|>"]], given, where


def loss_of(
    model: WhisperForConditionalGeneration,
    telling: torch.nn.Linear,
    batch: tuple[torch.Tensor, ...],
) -> tuple[torch.Tensor, ...]:
    """Losses: of the next tokens, of what is said in each place, of where is listened."""
    features, inputs, labels, said, spans = batch
    out = model(input_features=features, decoder_input_ids=inputs, output_attentions=True)
    cross = torch.nn.functional.cross_entropy
    tokens = cross(out.logits.flatten(0, 1).float(), labels.flatten(), ignore_index=-100)
    told = telling(out.encoder_last_hidden_state)
    places = cross(told.flatten(0, 1).float(), said.flatten())
    attention = out.cross_attentions[-1].float().mean(1)
    place = torch.arange(attention.shape[-1])
    inside = (place >= spans[..., :1]) & (place < spans[..., 1:])
    share = (attention * inside).sum(-1)[inside.any(-1)]
    return tokens, places, -(share + 1e-3).log().mean()


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=HERE.parent / "daiic-tiny-hear")
    arguments.add_argument("--steps", type=int, default=2000)
    arguments.add_argument("--batch", type=int, default=16)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)

    extractor = WhisperFeatureExtractor(feature_size=BANDS, chunk_length=WINDOW)
    tokenizer = new_tokenizer()
    model = new_model(tokenizer)
    telling = torch.nn.Linear(model.config.d_model, 21)
    print(f"{model.num_parameters():,} parameters", flush=True)
    lessons = Lessons(tokenizer, Takes(extractor, random.Random(SEED)))
    learned = [*model.parameters(), *telling.parameters()]
    optimizer = torch.optim.AdamW(learned, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=given.steps, pct_start=0.1
    )
    model.train()
    began, spent = time.monotonic(), time.process_time()
    for step in range(1, given.steps + 1):
        with torch.autocast("cpu", torch.bfloat16):
            losses = loss_of(model, telling, lessons.batch(given.batch))
        sum(losses).backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % 25 == 0:
            shown = " ".join(f"{float(loss):.3f}" for loss in losses)
            took = f"{time.monotonic() - began:.0f} s, {time.process_time() - spent:.0f} s of CPU"
            print(f"step {step:5} losses {shown} {took}", flush=True)
        if step % 250 == 0:
            write(model, tokenizer, extractor, given.out)
    write(model, tokenizer, extractor, given.out)


def write(
    model: WhisperForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    extractor: WhisperFeatureExtractor,
    folder: Path,
) -> None:
    """Write the model as Whispers are published, in bfloat16."""
    weights = {name: weight.bfloat16() for name, weight in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)
    extractor.save_pretrained(folder)


if __name__ == "__main__":
    main()
