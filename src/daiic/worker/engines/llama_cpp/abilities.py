"""What a loaded GGUF model can do, as llama-server tells of it."""

from collections.abc import Mapping
from typing import Any

from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.llama_cpp.chat_request import Template
from daiic.worker.engines.llama_cpp.probe import CAPABILITIES, TEXT


def abilities(
    kind: pb.ModelKind, props: Mapping[str, Any], template: Template, *, chats: bool, adapts: bool
) -> frozenset[pb.Capability]:
    """Return what tasks may ask of a model of this `kind`, of which /props tells `props`.

    `chats`: its file has a chat template; `adapts`: it has adapters.
    """
    if kind in CAPABILITIES:
        return CAPABILITIES[kind]
    able = set(TEXT)
    if chats:
        able.add(pb.CHAT)
        if template.tools:
            able.add(pb.TOOLS)
        if (props.get("modalities") or {}).get("vision"):
            able.add(pb.SEE)
    if adapts:
        able.add(pb.ADAPTERS)
    return frozenset(able)
