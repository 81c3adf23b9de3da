"""Which models on the disk are language models, told from their files alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from daiic.bounded_file import read_bounded
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.interface import Probed
from daiic.worker.engines.text.formats.traits import traits_of
from daiic.worker.engines.transformers_vision.files import sees
from daiic.worker.limits import LIMITS
from daiic.worker.models.adapters import adapters_beside
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
            probed = _probed(path, sees=sees(path, name))
            if not adapters_beside(path, pb.TEXT):
                return probed
            return replace(probed, capabilities=probed.capabilities | {pb.ADAPTERS})
    return None


def _probed(path: Path, *, sees: bool) -> Probed:
    template, described = _template(path)
    if not template:
        return Probed(pb.TEXT, COMPLETES)
    traits = traits_of(template, described)
    able = CHATS | {pb.TOOLS} if traits.tools else CHATS
    return Probed(pb.TEXT, able | {pb.SEE} if sees else able, reasons=traits.thinks)


class _Templates(msgspec.Struct):
    """Of a JSON file: one template, or a list of them, each with a name."""

    chat_template: Any = None
    response_template: Any = None


def _template(path: Path) -> tuple[str, Any]:
    """Return the chat template of the tokenizer in `path`, and the `response_template`, if any.

    A file that cannot be read has none; loading the model will say what is wrong with it.
    """
    config = _templates_in(path / "tokenizer_config.json")
    try:
        own = read_bounded(path / "chat_template.jinja", LIMITS.template)
        if own.strip():
            return own.decode("utf-8", "replace"), config.response_template
    except OSError:
        pass
    for template in (
        config.chat_template,
        _templates_in(path / "chat_template.json").chat_template,
    ):
        if isinstance(template, list):
            named = [one for one in template if isinstance(one, dict)]
            template = next(
                (one.get("template") for one in named if one.get("name") == "default"), ""
            )
        if isinstance(template, str) and template:
            return template, config.response_template
    return "", None


def _templates_in(file: Path) -> _Templates:
    try:
        content = read_bounded(file, LIMITS.tokenizer_config)
        return msgspec.json.decode(content, type=_Templates)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Templates()
