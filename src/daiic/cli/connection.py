"""Which cluster a command talks to: the options for it, and the client they make."""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Protocol

import typer

from daiic.cli.gateway_client import GatewayClient
from daiic.client import ClusterClient
from daiic.errors import TaskError
from daiic.model_kinds import MODEL_KINDS, capabilities_of
from daiic.model_names import Names
from daiic.wire import daiic_pb2 as pb
from daiic.wire.keyfile import ClusterKey
from daiic.work import WORK

DEFAULT_HEAD = "127.0.0.1:7717"

HeadOption = Annotated[
    str,
    typer.Option(
        "--head",
        metavar="HOST:PORT,…",
        envvar="DAIIC_HEADS",
        help="The cluster's heads, in order of preference.",
    ),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key-file",
        envvar="DAIIC_CLUSTER_KEY_FILE",
        help="File with the cluster key (made by daiic keygen).",
    ),
]
InsecureOption = Annotated[
    bool,
    typer.Option(
        "--allow-unauthenticated",
        envvar="DAIIC_ALLOW_UNAUTHENTICATED",
        help="Talk to heads on other machines without a cluster key.",
    ),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="DAIIC_URL",
        help="Use a gateway (http://host:7700), not a head; DAIIC_API_KEY holds the API key.",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", "-m", help="The model to use; by default the first suitable one."),
]
TagOption = Annotated[
    list[str] | None,
    typer.Option("--tag", help="Only workers with this tag; may be given more than once."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]


class Cluster(Protocol):
    """What answers tasks: a head over the mesh, or a gateway over HTTP."""

    def run(self, task: pb.Task) -> AsyncGenerator[pb.Result, None]:
        """Yield the parts of the answer; closing the generator cancels the task."""

    async def answer(self, task: pb.Task) -> pb.Result:
        """Return the whole answer as one part."""

    async def models(self, tags: Sequence[str] = ()) -> list[pb.ModelStatus]:
        """Return the models of all workers with `tags`, those that are loaded first."""


@dataclass(frozen=True, slots=True)
class Target:
    """Which cluster, as the options name it; `url` goes before `head`, `tags` are of workers."""

    head: str
    key_file: Path | None
    allow_unauthenticated: bool
    url: str | None = None
    tags: list[str] = field(default_factory=list)

    def mesh(self) -> ClusterClient:
        """Return the client of the heads; enter it to connect.

        Raises:
            KeyFileError: if the key cannot be used.
        """
        heads = [name.strip() for name in self.head.split(",") if name.strip()]
        key = ClusterKey.load(self.key_file) if self.key_file else None
        return ClusterClient(
            heads or [DEFAULT_HEAD], key, allow_unauthenticated=self.allow_unauthenticated
        )

    def connect(self) -> contextlib.AbstractAsyncContextManager[Cluster]:
        """Return the client of the gateway if one is named, else that of the heads.

        Raises:
            KeyFileError: if the key cannot be used.
        """
        return GatewayClient(self.url) if self.url else self.mesh()


@dataclass(frozen=True, slots=True)
class Chosen:
    """A model as people call it, and as tasks do: with its adapter apart."""

    name: str
    model: str
    adapters: tuple[pb.Adapter, ...] = ()

    def task(self, tags: Sequence[str], **work: Any) -> pb.Task:
        """Return a task for it, which workers with `tags` may run."""
        return pb.Task(model=self.model, adapters=self.adapters, tags=tags, **work)


async def choose_model(
    cluster: Cluster,
    wanted: str | None,
    work: str,
    capability: pb.Capability,
    tags: Sequence[str],
) -> Chosen:
    """Return which model `wanted` means, or the cluster's best for `work`.

    Only workers with all of `tags` count.

    Raises:
        TaskError: MODEL_NOT_FOUND if there is none.
    """
    models = await cluster.models(tags)
    if wanted:
        names = Names(
            (model.name for model in models), {model.name: model.adapters for model in models}
        )
        meant = names.meant(wanted)
        base, adapter = names.parts(meant)
        return Chosen(meant, base, (pb.Adapter(name=adapter),) if adapter else ())
    usable = [
        model
        for model in models
        if model.state != pb.FAILED and capability in (capabilities_of(model) or {capability})
    ]
    model_kinds = WORK[work].model_kinds
    for fitting in model_kinds:
        for model in usable:
            if model.kind == fitting:
                return Chosen(model.name, model.name)
    noun = MODEL_KINDS[model_kinds[0]].noun
    raise TaskError(
        pb.MODEL_NOT_FOUND,
        f"the cluster has no {noun} model"
        + (f" on a worker with the tags {', '.join(tags)}" if tags else "")
        + " yet",
        "name one with --model (a Hugging Face id, or a name in a worker's models folder); "
        "`daiic models list` shows the models of all workers",
    )
