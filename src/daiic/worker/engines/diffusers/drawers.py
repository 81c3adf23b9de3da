"""The pipelines that draw with one set of weights: from text, from an image, and within a mask."""

from dataclasses import dataclass
from typing import Any

from diffusers import AutoPipelineForImage2Image, AutoPipelineForInpainting

from daiic.worker.engines.diffusers.calling import Calling, calling_of
from daiic.worker.engines.diffusers.canvas import Canvas
from daiic.worker.engines.diffusers.probe import EDITING


@dataclass(frozen=True, slots=True)
class Drawer:
    """A pipeline, and how it is called."""

    pipeline: Any
    calling: Calling


@dataclass(frozen=True, slots=True)
class Drawers:
    """`from_image` and `in_mask` are `None` for families that only draw from text."""

    from_text: Drawer
    from_image: Drawer | None = None
    in_mask: Drawer | None = None

    @property
    def can_edit(self) -> bool:
        """Whether they can begin with an image."""
        return self.from_image is not None

    def of(self, canvas: Canvas | None) -> Drawer:
        """Return what draws on `canvas`."""
        drawer: Drawer | None
        if canvas is None:
            drawer = self.from_text
        else:
            drawer = self.from_image if canvas.mask is None else self.in_mask
        assert drawer is not None
        return drawer


def drawers_of(pipeline: Any, calling: Calling) -> Drawers:
    """Return the drawers with the weights of `pipeline`, wherever those lie or are moved to."""
    from_text = Drawer(pipeline, calling)
    if type(pipeline).__name__ not in EDITING:
        return Drawers(from_text)
    return Drawers(
        from_text,
        _made_from(pipeline, AutoPipelineForImage2Image),
        _made_from(pipeline, AutoPipelineForInpainting),
    )


def _made_from(pipeline: Any, kind: Any) -> Drawer:
    # Schedulers keep where they are, and some pipelines change their scheduler's configuration.
    scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config)
    made = kind.from_pipe(pipeline, scheduler=scheduler)
    made.set_progress_bar_config(disable=True)
    return Drawer(made, calling_of(made))
