"""What a worker does, in one line for `systemctl status`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from daiic.wire import daiic_pb2 as pb

if TYPE_CHECKING:
    from daiic.worker.node import Node

_ON_THE_WAY = {pb.DOWNLOADING: "downloading", pb.LOADING: "loading"}


def status_line(node: "Node", models: Sequence[pb.ModelStatus]) -> str:
    """Return what `node` does now, with these `models`."""
    parts = [
        f"{_ON_THE_WAY[model.state]} {model.name} {model.progress:.0%}"
        for model in models
        if model.state in _ON_THE_WAY
    ]
    tasks = f"{node.tasks.running} running"
    if node.tasks.waiting:
        tasks += f", {node.tasks.waiting} waiting"
    if node.state == pb.DRAINING:
        return f"draining: {tasks}"
    if node.state == pb.READY:
        loaded = [model.name for model in models if model.state == pb.LOADED]
        rate = node.statistics.tokens_per_second()
        parts.insert(
            0, f"serving {', '.join(loaded) or 'no model yet'}: {tasks}, {rate:.0f} tokens/s"
        )
    silent = node.heads.silent
    if silent:
        parts.append(f"no answer from head {', '.join(silent)}")
    failed = [model for model in models if model.state == pb.FAILED]
    parts += [f"{model.name} failed: {model.detail}" for model in failed]
    return "; ".join(parts) or "starting"
