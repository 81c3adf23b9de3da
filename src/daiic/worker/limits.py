"""The bounds within which a worker works, whatever tasks, folders and templates say.

Those of the wire are in `daiic.wire.limits`. docs/operations.md says what
happens at each.
"""

from dataclasses import dataclass

KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class WorkerLimits:
    """Sizes in bytes, times in seconds.

    Of tasks: `waiting` for a slot, as a multiple of the slots; `tasks_memory`
    of all that wait or run; `unsent` bytes of answers; `given_up` ones of which a head
    is told when it answers again. Of a heartbeat: its
    size, its `models`, and the characters of why one failed, a `detail`.

    Of what is asked for: an image's `side` in pixels, its `steps`, `guidance`,
    number of `images`, of `previews` of each, and characters of a `prompt`; `stop_strings`;
    `logprobs` beside each token, `logit_biases`; a `constraint`'s characters and how deep
    its schema is nested, and the `constraint_patience` for one token; `grammar_seconds` of
    processor time and `grammar_memory` to try one, and `mask_seconds` of processor time for
    the masks of an answer, beside what is usual; `tools`, `calls`
    in an answer, `seen_images`, the `pixels` of each and of them all, and the `jpeg_scans` of one;
    `documents` to rank.

    Of a `recording`, its size, and once it is decoded: `recording_seconds`, `recording_samples`
    of all channels, `recording_channels`, `recording_rate`. Of a text that is said: the characters
    of all that is `spoken` and of a `sentence`, and the `sentence_seconds` that one may take; the
    `voices` that a model may have.

    Of the models folder, and of the download cache: entries `looked_at`, and
    `unusable` ones that the log and the list name after one look.

    Of a model's folder: `depth` below it, its `entries`, and files: `config`,
    `template`, `tokenizer_config`, `vocabulary`, `index`, a checkpoint's
    `tensors_header`. Of what its configuration asks for: `modules`, any number
    of a `scheduler`, and the side of a `latent` image; of what a
    processor makes of an image that is seen: its side in pixels, and the parts that it is cut into,
    `processor_side` and `processor_parts`. Of a tokenizer: how many
    times longer it may make a text, its `tokenizer_growth`. Of a chat template:
    its source is a `template`, and it may take `template_seconds` of processor
    time (`template_patience` of real time) and `template_memory` for one
    conversation. Of a GGUF file: its `load_patience`, beside the time that its size
    takes; what it says before its weights, its `gguf_header`; the `gguf_keys`,
    `gguf_strings` in all arrays, `gguf_tensors`, bytes of each `gguf_name`; the
    `gguf_parts` that a model may be split into, and its `adapters`, of which each has an
    `adapter_rank`.
    Of a model of several machines: the `shard_members` besides the one that leads, and the
    characters of a `shard_name`.
    `failures` are those models that the list shows as failed, `aliases` other
    names of models that it shows because tasks used them.
    """

    waiting: int = 4
    tasks_memory: int = 512 * MIB
    unsent: int = 32 * MIB
    given_up: int = 4096
    heartbeat: int = 64 * KIB
    models: int = 512
    detail: int = 512
    side: int = 2048
    steps: int = 200
    guidance: float = 50.0
    images: int = 10
    previews: int = 10
    prompt: int = 8192
    stop_strings: int = 16
    logprobs: int = 20
    logit_biases: int = 1024
    constraint: int = 256 * KIB
    constraint_depth: int = 64
    constraint_patience: float = 60.0
    grammar_seconds: float = 3.0
    grammar_memory: int = 384 * MIB
    mask_seconds: float = 1.0
    tools: int = 128
    calls: int = 128
    seen_images: int = 16
    pixels: int = 1 << 24
    all_pixels: int = 1 << 26
    jpeg_scans: int = 100
    documents: int = 2048
    recording: int = 26 * MIB
    recording_seconds: int = 7200
    recording_samples: int = 1 << 29
    recording_channels: int = 8
    recording_rate: int = 192_000
    spoken: int = 4096
    sentence: int = 400
    sentence_seconds: int = 120
    voices: int = 256
    looked_at: int = 10_000
    unusable: int = 50
    depth: int = 2
    entries: int = 5000
    config: int = 4 * MIB
    template: int = 1 * MIB
    tokenizer_config: int = 16 * MIB
    vocabulary: int = 256 * MIB
    index: int = 32 * MIB
    tensors_header: int = 16 * MIB
    modules: int = 200_000
    scheduler: int = 100_000
    latent: int = 512
    processor_side: int = 4096
    processor_parts: int = 64
    tokenizer_growth: int = 64
    template_seconds: float = 5.0
    template_patience: float = 120.0
    template_memory: int = 512 * MIB
    load_patience: float = 300.0
    gguf_header: int = 128 * MIB
    gguf_keys: int = 4096
    gguf_strings: int = 4_000_000
    gguf_tensors: int = 100_000
    gguf_name: int = 256
    gguf_parts: int = 1000
    adapters: int = 32
    adapter_rank: int = 1024
    shard_members: int = 16
    shard_name: int = 256
    failures: int = 16
    aliases: int = 64


LIMITS = WorkerLimits()
