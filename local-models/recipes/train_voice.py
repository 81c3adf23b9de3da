"""Makes local-models/daiic-tiny-voice: a VITS of two voices that say the ten digits in English.

It needs espeak-ng. Run it as `python local-models/recipes/train_voice.py [--out FOLDER]`; the seed
is fixed.

A whole VITS takes days, for it learns by itself where each letter is heard and how a vibration
looks. This one is shown both. Each letter has an equal share of its word, and what is to be said
was made anew from the resonances of what espeak-ng said (linear prediction): each frame begins with
a pulse. So a frame's samples follow from its letter alone, and can be learned one by one.
"""

import argparse
import json
import random
import time
from pathlib import Path

import numpy as np
import torch
from spoken_digits import RATE, WORDS, Array, say
from transformers import VitsConfig, VitsModel, VitsTokenizer

HERE = Path(__file__).parent
SEED = 7717
FRAME = 128  # samples
ORDER = 18  # of linear prediction
VOICES = (("en-us+m3", 1), ("en-gb+f2", 2))  # of espeak-ng, and pulses a frame
NAMES = {"low": 0, "high": 1}
SPEED = 130
PAUSE = 14  # frames between words
NOISY = 0.5  # of neighbouring samples' likeness, below which a frame hisses
EMPHASIS = 0.9
LETTERS = " '-abcdefghijklmnopqrstuvwxyz"
PEAK_RATE = 3e-3


def prediction(frame: Array) -> tuple[Array, float]:
    """Coefficients that predict each sample of `frame` from those before it, and what is left."""
    lags = np.correlate(frame, frame, "full")[len(frame) - 1 :][: ORDER + 1].astype(np.float64)
    lags[0] = lags[0] * 1.0005 + 1e-7
    coefficients, error = np.zeros(ORDER), lags[0]
    for n in range(ORDER):  # Levinson and Durbin
        reflection = (lags[n + 1] - coefficients[:n] @ lags[n:0:-1]) / error
        coefficients[:n] -= reflection * coefficients[:n][::-1].copy()
        coefficients[n] = reflection
        error *= 1 - reflection**2
    return coefficients.astype(np.float32), float(np.sqrt(max(error, 0.0)))


def said_anew(samples: Array, pulses: int) -> Array:
    """Return `samples` with the same resonances, and so many `pulses` in each frame."""
    samples = np.append(samples[:1], samples[1:] - EMPHASIS * samples[:-1])
    frames = len(samples) // FRAME
    padded = np.pad(samples, FRAME)
    window = np.hanning(3 * FRAME).astype(np.float32)
    hiss = np.random.default_rng(SEED).standard_normal(FRAME).astype(np.float32)
    out = np.zeros(frames * FRAME + ORDER, np.float32)
    for n in range(frames):
        part = padded[n * FRAME : (n + 3) * FRAME] * window
        coefficients, left = prediction(part)
        likeness = part[1:] @ part[:-1] / max(part @ part, 1e-9)
        if likeness > NOISY - 0.5:
            excitation = np.zeros(FRAME, np.float32)
            excitation[:: FRAME // pulses] = np.sqrt(1 / pulses)
        else:
            excitation = hiss / np.sqrt(FRAME)
        for place, one in enumerate(excitation * left * 0.6, n * FRAME + ORDER):
            out[place] = one + coefficients @ out[place - ORDER : place][::-1]
    for place in range(1, len(out)):
        out[place] += EMPHASIS * out[place - 1]
    return out[ORDER:] * 0.5 / max(0.1, np.abs(out).max())


def new_model() -> VitsModel:
    """The untrained network of 1.2 million parameters; its durations do not depend on chance."""
    config = VitsConfig(
        vocab_size=len(LETTERS) + 1,
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=2,
        ffn_dim=192,
        layerdrop=0.0,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
        use_stochastic_duration_prediction=False,
        duration_predictor_filter_channels=64,
        duration_predictor_dropout=0.0,
        flow_size=64,
        spectrogram_bins=65,
        prior_encoder_num_flows=1,
        prior_encoder_num_wavenet_layers=1,
        posterior_encoder_num_wavenet_layers=1,
        num_speakers=len(VOICES),
        speaker_embedding_size=16,
        upsample_initial_channel=64,
        upsample_rates=[FRAME],
        upsample_kernel_sizes=[2 * FRAME],
        resblock_kernel_sizes=[3],
        resblock_dilation_sizes=[[1]],
        sampling_rate=RATE,
        noise_scale=0.1,
    )
    return VitsModel(config)


def new_tokenizer(folder: Path) -> VitsTokenizer:
    """A tokenizer of letters, with a blank before and after each."""
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = folder / "vocab.json"
    vocabulary.write_text(json.dumps({"_": 0} | {c: n for n, c in enumerate(LETTERS, 1)}))
    return VitsTokenizer(
        vocab_file=str(vocabulary),
        pad_token="_",
        unk_token=None,
        language="eng",
        add_blank=True,
        normalize=True,
        phonemize=False,
        is_uroman=False,
    )


def durations(words: list[int], spoken: list[Array]) -> list[int]:
    """Frames of each token of `words`: letters and blanks of a word have equal shares of it."""
    frames = [1]
    for number, word in enumerate(words):
        count = 2 * len(WORDS["en"][word]) - 1
        whole = len(spoken[word]) // FRAME
        frames += [(n + 1) * whole // count - n * whole // count for n in range(count)]
        frames += [1, PAUSE, 1] if number + 1 < len(words) else [1]
    return frames


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=HERE.parent / "daiic-tiny-voice")
    arguments.add_argument("--steps", type=int, default=700)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    rng = random.Random(SEED)

    spoken = [
        [said_anew(say(word, voice, speed=SPEED), pulses) for word in WORDS["en"]]
        for voice, pulses in VOICES
    ]
    tokenizer = new_tokenizer(given.out)
    model = new_model()
    print(f"{model.num_parameters():,} parameters", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.8, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=given.steps, pct_start=0.1
    )
    model.train()
    began, spent = time.monotonic(), time.process_time()
    deck: list[int] = []
    for step in range(1, given.steps + 1):
        total = 0.0
        for voice in range(len(VOICES)):
            while len(deck) < 3:
                deck += rng.sample(range(10), 10)
            words = [deck.pop() for _ in range(3)]
            loss = loss_of(model, tokenizer, words, spoken[voice], voice)
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        schedule.step()
        if step % 20 == 0:
            took = f"{time.monotonic() - began:.0f} s, {time.process_time() - spent:.0f} s of CPU"
            print(f"step {step:5} loss {total:.3f} {took}", flush=True)
        if step % 100 == 0 or step == given.steps:
            weights = {name: one.bfloat16() for name, one in model.state_dict().items()}
            model.save_pretrained(given.out, state_dict=weights)
            tokenizer.save_pretrained(given.out)
            (given.out / "voices.json").write_text(json.dumps(NAMES) + "\n")


def loss_of(
    model: VitsModel, tokenizer: VitsTokenizer, words: list[int], spoken: list[Array], voice: int
) -> torch.Tensor:
    """How far the model is from saying `words` as `spoken`: durations, samples, spectrum."""
    text = " ".join(WORDS["en"][word] for word in words)
    ids = torch.tensor([tokenizer(text).input_ids])
    frames = torch.tensor(durations(words, spoken))
    assert ids.shape[1] == len(frames), (text, ids.shape, frames.shape)
    target = np.zeros(int(frames.sum()) * FRAME, np.float32)
    place = FRAME
    for word in words:
        target[place : place + len(spoken[word])] = spoken[word]
        place += len(spoken[word]) + (PAUSE + 2) * FRAME
    speaker = model.embed_speaker(torch.tensor([voice])).unsqueeze(-1)
    mask = torch.ones(1, ids.shape[1], 1)
    encoded = model.text_encoder(input_ids=ids, padding_mask=mask)
    told = model.duration_predictor(
        encoded.last_hidden_state.transpose(1, 2), mask.transpose(1, 2), speaker
    )
    wanted = torch.log(frames - 0.5).clamp(min=-1)
    means = encoded.prior_means.repeat_interleave(frames, 1).transpose(1, 2)
    spread = encoded.prior_log_variances.repeat_interleave(frames, 1).transpose(1, 2)
    latents = means + torch.randn_like(means) * spread.exp() * model.noise_scale
    latents = model.flow(latents, torch.ones(1, 1, means.shape[-1]), speaker, reverse=True)
    made = model.decoder(latents, speaker)[0, 0]
    aim = torch.from_numpy(target)
    sharp = [one[1:] - EMPHASIS * one[:-1] for one in (made, aim)]
    loss = (sharp[0] - sharp[1]).square().mean() / sharp[1].square().mean()
    for size in (256, 512):
        shape = {"n_fft": size, "hop_length": size // 4, "return_complex": True}
        window = torch.hann_window(size)
        spectra = [torch.stft(one, window=window, **shape).abs() for one in (made, aim)]
        logs = [torch.log(one + 3e-2) for one in spectra]
        loss = loss + (logs[0] - logs[1]).abs().mean()
    return loss + (told[0, 0] - wanted).square().mean()


if __name__ == "__main__":
    main()
