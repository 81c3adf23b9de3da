"""What a failed download means, in words for the person whose task needed it.

Messages are made here, never passed on: what libraries say may hold headers.
"""

import errno
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.models.gguf.choice import usually_at_lead, with_usual_context
from daiic.worker.models.model_json import shown

TOKEN_SETTING = (
    "hf_token_file (on NixOS services.daiic.worker.hfTokenFile) or HF_TOKEN in its environment"
)


def explained(name: str, cache: Path, has_token: bool, error: BaseException) -> TaskError:
    """Return what kept `name` from being downloaded to `cache`."""
    causes = _chain(error)
    for cause in causes:
        if isinstance(cause, TaskError):
            return cause
        if isinstance(cause, GatedRepoError):
            return gated(name, has_token)
        if isinstance(cause, (RepositoryNotFoundError, DisabledRepoError)):
            return TaskError(
                pb.MODEL_NOT_FOUND,
                f"Hugging Face has no model {name}, or it is private",
                f"check the spelling; for a private one set {TOKEN_SETTING}",
            )
        if isinstance(cause, HfHubHTTPError) and cause.response is not None:
            return _answered(name, cause.response.status_code)
    for cause in causes:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return no_space(name, cache, None)
        if isinstance(cause, OSError) and cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return TaskError(
                pb.INTERNAL,
                f"{name} cannot be downloaded: the worker may not write to {cache}",
                "set cache_dir to a folder that the worker may write to",
            )
    if any(isinstance(cause, OfflineModeIsEnabled) for cause in causes):
        return _unreachable(name, "unset HF_HUB_OFFLINE in the worker's environment")
    return _unreachable(name, "check the worker's network, or put the model into its models folder")


def gated(name: str, has_token: bool) -> TaskError:
    """Return the refusal of a model whose licence has to be accepted first."""
    accept = f"accept its licence at {constants.ENDPOINT}/{name}"
    if has_token:
        return TaskError(
            pb.MODEL_GATED,
            f"{name} is gated, and the worker's Hugging Face token has no access to it",
            f"{accept} with the account of that token, or set the token of one that has "
            f"accepted it: {TOKEN_SETTING}",
        )
    return TaskError(
        pb.MODEL_GATED,
        f"{name} is gated, and the worker has no Hugging Face token",
        f"{accept}, then set {TOKEN_SETTING} to a token of that account",
    )


class TooLarge(TaskError):
    """A model that this worker cannot hold alone, and has not downloaded; sizes in bytes.

    It `needs` about so many, of which `lead_needs` lie with one that leads a group.
    """

    def __init__(self, name: str, size: int, room: int) -> None:
        """`size` is that of its files, and `room` what a model may take here."""
        self.needs, self.lead_needs = with_usual_context(size), usually_at_lead(size)
        super().__init__(
            pb.OUT_OF_MEMORY,
            f"{shown(name)} takes about {self.needs / 1e9:.1f} GB of memory, and this worker has "
            f"{room / 1e9:.1f} GB for models, so it was not downloaded",
            "use a smaller quantisation, or set shard = true on several workers, which hold it "
            "together",
        )


def no_space(name: str, cache: Path, needed: int | None) -> TaskError:
    """Return that the disk of `cache` is full; `needed` is in bytes, if known."""
    amount = f"{needed / 1e9:.1f} GB" if needed is not None else "space"
    return TaskError(
        pb.INTERNAL,
        f"{name} needs more space than the disk of {cache} has",
        f"free {amount} there, or set cache_dir to a folder on a larger disk",
    )


def _answered(name: str, status: int) -> TaskError:
    if status == 401:
        return TaskError(
            pb.MODEL_GATED,
            f"Hugging Face does not accept the worker's token for {name}",
            f"make a new one at {constants.ENDPOINT}/settings/tokens and set {TOKEN_SETTING}",
        )
    if status == 429:
        return TaskError(
            pb.INTERNAL,
            f"Hugging Face limits this worker's requests and did not give out {name}",
            f"wait some minutes; a token raises the limit: {TOKEN_SETTING}",
        )
    return TaskError(
        pb.INTERNAL,
        f"Hugging Face answered {status} to the request for {name}",
        "try again later; status.huggingface.co reports outages",
    )


def _unreachable(name: str, remedy: str) -> TaskError:
    return TaskError(
        pb.INTERNAL,  # so that the head tries a worker that may have it, or reach it
        f"{name} is not on this worker's disk, and {constants.ENDPOINT} cannot be reached",
        remedy,
    )


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found
