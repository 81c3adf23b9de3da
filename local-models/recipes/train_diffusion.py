"""Makes local-models/tiny-shapes.safetensors: a small Stable Diffusion that draws coloured shapes.

An autoencoder is trained first, then the text encoder on captions, then a UNet between
the two. Takes about twenty minutes on one processor core that has
bfloat16 matrix instructions. Run it as `python local-models/recipes/train_diffusion.py
[--out FOLDER]`; the seed is fixed.
"""

import argparse
import copy
import json
import random
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from shapes import (
    ASKED_COLOURS,
    ASKED_SHAPES,
    SIZE,
    SIZES,
    Drawing,
    any_drawing,
    caption,
    draw,
    drawing_on_request,
)
from single_file_layout import write_single_file
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy, l1_loss, mse_loss
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

HERE = Path(__file__).parent
NAME = "tiny-shapes"
SEED = 7727
PROMPT_TOKENS = 77
DRAWINGS = 16384  # that the autoencoder learns from, on all grounds
REQUESTS = 4096  # that the UNet learns from, all on one
UNCONDITIONED = (
    0.12  # of the captions are dropped, so that guidance has something to push away from
)
AVERAGING = 0.995  # of the running mean of the weights, per step


def train_tokenizer(rng: random.Random) -> CLIPTokenizer:
    """A CLIP tokenizer that knows every byte and merges the words of the captions."""
    plain = CLIPTokenizer().backend_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.normalizer, learner.pre_tokenizer = plain.normalizer, plain.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=len(alphabet) * 2 + 192,
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(
        (caption(drawing_on_request(rng), rng) for _ in range(4000)), trainer
    )
    learner_state = json.loads(learner.to_str())["model"]
    merges = [tuple(pair) for pair in learner_state["merges"]]
    tokens = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    tokens += ["".join(pair) for pair in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
    return CLIPTokenizer(vocabulary, merges, model_max_length=PROMPT_TOKENS)


def new_autoencoder() -> AutoencoderKL:
    """From SIZE pixels to latents a quarter as wide, four channels deep."""
    vae = AutoencoderKL(
        block_out_channels=(16, 32, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
    )
    with (
        torch.no_grad()
    ):  # latents start nearly certain; else their noise drowns what is to be learned
        vae.quant_conv.bias[4:] = -6.0
    return vae


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Two layers of 128; all widths, the UNet's too, are multiples of 64, as 4-bit blocks want."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=PROMPT_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_unet() -> UNet2DConditionModel:
    """Two resolutions; the words reach it at the coarse one, where 64 places see each other."""
    return UNet2DConditionModel(
        sample_size=SIZE // 4,
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=4,
        norm_num_groups=16,
    )


def schedule() -> DDIMScheduler:
    """Velocity prediction down to pure noise, so that plain grounds get their true colour."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
    )


def _report(what: str, step: int, loss: torch.Tensor, started: float) -> None:
    print(
        f"{what} step {step:5} loss {loss.item():.4f} {time.monotonic() - started:6.0f} s",
        flush=True,
    )


def train_autoencoder(vae: AutoencoderKL, pictures: torch.Tensor, steps: int) -> None:
    """Train to give each picture back, with a slight pull of the latents towards a unit normal."""
    vae.train()
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3, weight_decay=1e-4)
    rates = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1.5e-3, total_steps=steps, pct_start=0.1)
    started = time.monotonic()
    for step in range(1, steps + 1):
        batch = pictures[torch.randint(len(pictures), (8,))]
        with torch.autocast("cpu", torch.bfloat16):
            posterior = vae.encode(batch).latent_dist
            again = vae.decode(posterior.sample()).sample
        again = again.float()
        loss = l1_loss(again, batch) + mse_loss(again, batch) + 1e-6 * posterior.kl().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        rates.step()
        if step % 100 == 0 or step == 1:
            _report("autoencoder", step, loss, started)
    vae.eval()


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: torch.Tensor) -> torch.Tensor:
    """The pictures' latents, scaled to unit variance; `vae`'s configuration notes the factor."""
    with torch.autocast("cpu", torch.bfloat16):
        parts = [vae.encode(batch).latent_dist.mean.float() for batch in pictures.split(64)]
    latents = torch.cat(parts)
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
    return latents * vae.config.scaling_factor


def teach_words(text: CLIPTextModel, tokenizer: CLIPTokenizer, steps: int) -> None:
    """Train the text encoder alone to tell from a caption what is drawn.

    Its last states then hold shape, colour and size apart, which the
    UNet would otherwise have to find out through its own, slower, training.
    """
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    answers = {"shape": ASKED_SHAPES, "colour": ASKED_COLOURS, "size": tuple(SIZES)}
    width = text.config.hidden_size
    readers = torch.nn.ModuleDict(
        {key: torch.nn.Linear(width, len(values)) for key, values in answers.items()}
    )
    text.train()
    optimizer = torch.optim.AdamW([*text.parameters(), *readers.parameters()], lr=1e-3)
    started = time.monotonic()
    for step in range(1, steps + 1):
        drawings = [drawing_on_request(rng) for _ in range(64)]
        tokens = tokenizer([caption(d, rng) for d in drawings], padding=True, return_tensors="pt")
        states = text(**tokens).last_hidden_state
        ends = states[torch.arange(len(drawings)), tokens.attention_mask.sum(1) - 1]
        loss = torch.zeros(())
        for key, values in answers.items():
            true = torch.tensor([values.index(getattr(d, key)) for d in drawings])
            loss = loss + cross_entropy(readers[key](ends), true)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 100 == 0 or step == 1:
            _report("words", step, loss, started)
    text.eval()


def train_diffusion(
    unet: UNet2DConditionModel,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    latents: torch.Tensor,
    drawings: list[Drawing],
    steps: int,
) -> None:
    """Train the UNet to predict the velocity; leaves it with the mean of its last weights.

    The text encoder stays as it is: trained along, it soon says the same of every caption.
    """
    noise_schedule = schedule()
    torch.manual_seed(SEED)  # whatever the autoencoder's training took
    rng = random.Random(SEED)
    unet.train()
    average = copy.deepcopy(unet).requires_grad_(False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=1e-3, weight_decay=1e-3)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.5e-3, total_steps=steps, pct_start=0.05
    )
    started = time.monotonic()
    for step in range(1, steps + 1):
        chosen = torch.randint(len(drawings), (16,))
        captions = [
            "" if rng.random() < UNCONDITIONED else caption(drawings[i], rng)
            for i in chosen.tolist()
        ]
        ids = tokenizer(
            captions,
            padding="max_length",
            truncation=True,
            max_length=PROMPT_TOKENS,
            return_tensors="pt",
        ).input_ids
        clean = latents[chosen]
        noise = torch.randn_like(clean)
        # More of the noisy ones, where the words matter, than of those that are nearly clear.
        times = (torch.rand(len(chosen)).sqrt() * noise_schedule.config.num_train_timesteps).long()
        noisy = noise_schedule.add_noise(clean, noise, times)
        velocity = noise_schedule.get_velocity(clean, noise, times)
        with torch.no_grad():
            words = text(ids).last_hidden_state
        with torch.autocast("cpu", torch.bfloat16):
            predicted = unet(noisy, times, words).sample
        loss = mse_loss(predicted.float(), velocity)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        rates.step()
        keep = min(AVERAGING, step / (step + 10))
        for mean, weight in zip(average.parameters(), unet.parameters(), strict=True):
            mean.lerp_(weight.detach(), 1 - keep)
        if step % 100 == 0 or step == 1:
            _report("diffusion", step, loss, started)
    unet.load_state_dict(average.state_dict())
    unet.eval()


def write(
    folder: Path,
    unet: UNet2DConditionModel,
    vae: AutoencoderKL,
    text: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Write the checkpoint, and beside it the configuration folder that lets it load offline."""
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    config = folder / f"{NAME}.config"
    pipeline.save_config(config)
    vae.save_config(config / "vae")
    unet.save_config(config / "unet")
    text.config.save_pretrained(config / "text_encoder")
    tokenizer.save_pretrained(config / "tokenizer")
    pipeline.scheduler.save_pretrained(config / "scheduler")
    write_single_file(folder / f"{NAME}.safetensors", unet, vae, text, torch.float16)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--out", type=Path, default=HERE.parent)
    arguments.add_argument("--autoencoder-steps", type=int, default=3000)
    arguments.add_argument("--word-steps", type=int, default=600)
    arguments.add_argument("--diffusion-steps", type=int, default=900)
    arguments.add_argument("--threads", type=int, default=1)
    given = arguments.parse_args()
    torch.set_num_threads(given.threads)
    torch.manual_seed(SEED)
    rng = random.Random(SEED)

    drawings = [any_drawing(rng) for _ in range(DRAWINGS)]
    pictures = torch.stack([draw(drawing, rng) for drawing in drawings])
    tokenizer = train_tokenizer(rng)
    vae, text, unet = new_autoencoder(), new_text_encoder(tokenizer), new_unet()
    for network in (vae, text, unet):
        parameters = sum(weight.numel() for weight in network.parameters())
        print(f"{type(network).__name__}: {parameters:,} parameters")
    train_autoencoder(vae, pictures, given.autoencoder_steps)
    requests = [drawing_on_request(rng) for _ in range(REQUESTS)]
    latents = encode(vae, torch.stack([draw(drawing, rng) for drawing in requests]))
    print(f"scaling factor {vae.config.scaling_factor}")
    teach_words(text, tokenizer, given.word_steps)
    train_diffusion(unet, text, tokenizer, latents, requests, given.diffusion_steps)
    given.out.mkdir(parents=True, exist_ok=True)
    write(given.out, unet, vae, text, tokenizer)
    print(f"wrote {given.out / NAME}.safetensors")


if __name__ == "__main__":
    main()
