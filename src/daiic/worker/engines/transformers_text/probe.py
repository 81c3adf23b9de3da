"""Which models on the disk are language models, told from their files alone."""

from pathlib import Path
from typing import Any

import msgspec

from daiic.bounded_file import read_bounded
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.engines.transformers_vision.files import sees
from daiic.worker.limits import LIMITS
from daiic.worker.models.architectures import architectures_in, config_in
from daiic.worker.models.checkpoint_files import is_file

COMPLETES = frozenset({pb.COMPLETE, pb.EMBED, pb.SCHEMA, pb.SAMPLING, pb.TOKENS})
"""What every language model can do: it makes embeddings too, of its hidden states."""
CHATS = COMPLETES | {pb.CHAT}
_GENERATES_TEXT = ("ForCausalLM", "LMHeadModel")
_MAY_GENERATE_TEXT = "ForConditionalGeneration"


def probe(path: Path, name: str) -> Probed | None:
    """See `EngineEntry`: a folder whose config.json names an architecture that generates text."""
    if not path.is_dir() or is_file(path / "modules.json"):
        return None
    for architecture in architectures_in(path, name):
        if architecture.endswith(_GENERATES_TEXT) or (
            architecture.endswith(_MAY_GENERATE_TEXT)
            and not config_in(path, name).get("is_encoder_decoder")
        ):
            if not _has_template(path):
                return Probed(pb.TEXT, COMPLETES)
            return Probed(pb.TEXT, CHATS | {pb.SEE} if sees(path, name) else CHATS)
    return None


class _Templates(msgspec.Struct):
    """Of a JSON file: one template, or a list of them, each with a name."""

    chat_template: Any = None


def _has_template(path: Path) -> bool:
    """Return whether the tokenizer in `path` will come with a chat template.

    A file that cannot be read has none; loading the model will say what is wrong with it.
    """
    try:
        if read_bounded(path / "chat_template.jinja", LIMITS.template).strip():
            return True
    except OSError:
        pass
    return any(
        _has_template_in(path / file) for file in ("tokenizer_config.json", "chat_template.json")
    )


def _has_template_in(file: Path) -> bool:
    try:
        content = read_bounded(file, LIMITS.tokenizer_config)
        template = msgspec.json.decode(content, type=_Templates).chat_template
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    if isinstance(template, list):
        named = [one for one in template if isinstance(one, dict)]
        template = next((one.get("template") for one in named if one.get("name") == "default"), "")
    return isinstance(template, str) and bool(template)
