"""A task with a progress bar on stderr while it runs."""

import contextlib

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from daiic.cli.connection import Cluster
from daiic.cli.exits import err
from daiic.shown import shown
from daiic.wire import daiic_pb2 as pb


async def run_with_progress(cluster: Cluster, task: pb.Task) -> pb.Result:
    """Run `task`, showing its phases and how far each is, and return the last part.

    Raises:
        TaskError: if the task ends without an answer.
    """
    task.stream = True
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )
    with progress:
        model = shown(task.model)
        bar = progress.add_task(model, total=None)
        async with contextlib.aclosing(cluster.run(task)) as parts:
            async for part in parts:
                if part.HasField("progress"):
                    step = part.progress
                    progress.update(
                        bar,
                        description=f"{model}: {shown(step.phase)}",
                        completed=step.done,
                        total=step.total or None,
                    )
    return part
