"""The engines that there are. Another one is an entry here and a folder beside it."""

from collections.abc import Sequence
from pathlib import Path

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.diffusers.probe import probe as probe_pipeline
from daiic.worker.engines.interface import EngineEntry, Probed
from daiic.worker.engines.llama_cpp.probe import probe as probe_gguf
from daiic.worker.engines.transformers_embedding.probe import probe as probe_encoder
from daiic.worker.engines.transformers_reranking.probe import probe as probe_cross_encoder
from daiic.worker.engines.transformers_speech.probe import probe as probe_vits
from daiic.worker.engines.transformers_text.probe import probe as probe_language_model
from daiic.worker.engines.transformers_transcription.probe import probe as probe_whisper
from daiic.worker.engines.vllm.probe import probe as probe_for_vllm
from daiic.worker.models.architectures import architectures_in
from daiic.worker.models.gguf.description import describe
from daiic.worker.models.gguf.file_names import is_gguf
from daiic.worker.models.model_json import shown

ENGINES = (
    EngineEntry("llama_cpp", probe_gguf, "daiic.worker.engines.llama_cpp.load", without_torch=True),
    EngineEntry(
        "diffusers", probe_pipeline, "daiic.worker.engines.diffusers.load", over_cards=False
    ),
    EngineEntry(
        "transformers_text", probe_language_model, "daiic.worker.engines.transformers_text.load"
    ),
    EngineEntry(
        "transformers_reranking",
        probe_cross_encoder,
        "daiic.worker.engines.transformers_reranking.load",
    ),
    EngineEntry(
        "transformers_speech",
        probe_vits,
        "daiic.worker.engines.transformers_speech.load",
        over_cards=False,
    ),
    EngineEntry(
        "transformers_embedding", probe_encoder, "daiic.worker.engines.transformers_embedding.load"
    ),
    EngineEntry(
        "transformers_transcription",
        probe_whisper,
        "daiic.worker.engines.transformers_transcription.load",
        over_cards=False,
    ),
)
"""By order of preference: the first that accepts a model runs it."""

WITH_VLLM = (
    EngineEntry("vllm", probe_for_vllm, "daiic.worker.engines.vllm.load"),
    *ENGINES,
)
"""Those where the settings choose vLLM."""


def choose(
    path: Path, name: str, engines: Sequence[EngineEntry] = ENGINES
) -> tuple[EngineEntry, Probed]:
    """Return the engine for the model `name` in the folder or file `path`, and what it is to that.

    Raises:
        TaskError: BAD_REQUEST if no engine can run it, or its files are not valid.
        OSError: if they cannot be read.
    """
    for engine in engines:
        probed = engine.probe(path, name)
        if probed is not None:
            return engine, probed
    if is_gguf(path.name) and path.is_file():
        raise TaskError(
            pb.BAD_REQUEST,
            f"{name} has the architecture {shown(describe(path).architecture) or '(none)'}, "
            "which no engine of this worker runs",
            "choose another model",
        )
    if path.is_file():
        raise TaskError(
            pb.BAD_REQUEST,
            f"{path.name} is not a checkpoint of an image model",
            "a single file must be a whole Stable Diffusion checkpoint; put a language model into "
            "the models folder as a folder with its config.json and tokenizer",
        )
    architectures = ", ".join(architectures_in(path, name))
    raise TaskError(
        pb.BAD_REQUEST,
        f"{name} is a model of a kind that workers do not run "
        f"({shown(architectures) or 'its config.json names no architecture'})",
        "use a causal language model, a text-to-image pipeline of diffusers, a text encoder, a "
        "cross-encoder, a Whisper, or a VITS",
    )
