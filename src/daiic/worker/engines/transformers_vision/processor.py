"""A model's processor: from a conversation's text and images to what the model reads.

Its image processor cuts and scales the images, and puts as many placeholders into the text as each
takes. It always computes with Pillow and numpy, so that all workers see the same.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from PIL import Image
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.models.auto.processing_auto import (
    PROCESSOR_MAPPING,
    processor_class_from_name,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

from daiic.errors import TaskError
from daiic.wire import daiic_pb2 as pb
from daiic.worker.engines.torch.tokenizer import panicked
from daiic.worker.engines.transformers_text.prompt import check_length
from daiic.worker.engines.transformers_vision.files import processor_name
from daiic.worker.engines.transformers_vision.processor_bounds import check_bounds
from daiic.worker.engines.transformers_vision.seen import Seen
from daiic.worker.models.model_json import shown


class Processor:
    """What prepares the conversations of one model that have images in them."""

    def __init__(self, processor: Any, *, limit: int) -> None:
        """`limit` is how many tokens the model takes."""
        self._processor = processor
        self._limit = limit
        self._placeholder = str(processor.image_token)

    @property
    def chat_template(self) -> str | None:
        """The template that came with it, if there is one alone."""
        template = self._processor.chat_template
        return template if isinstance(template, str) and template else None

    def __call__(self, text: str, images: Sequence[Image.Image]) -> Seen:
        """Return what the model reads of `text`, which its chat template made; blocks.

        Raises:
            TaskError: BAD_REQUEST for images that the model cannot take.
        """
        check_length(self._processor.tokenizer, text, self._limit)
        places = text.count(self._placeholder)
        if places != len(images):
            raise TaskError(
                pb.BAD_REQUEST,
                f"the conversation has {len(images)} images, and places for {places}",
                f'leave "{shown(self._placeholder)}" out of its text, and images out of messages '
                "in which the model's chat template does not show them",
            )
        try:
            made = self._processor(
                text=[text], images=[list(images)], add_special_tokens=False, return_tensors="pt"
            )
        except BaseException as error:
            if not (isinstance(error, ValueError) or panicked(error)):
                raise
            raise TaskError(
                pb.BAD_REQUEST,
                f"the model's processor cannot take these images: {shown(error)}",
                "send images of more usual sizes, or choose another model",
            ) from None
        tokens = made.pop("input_ids")[0].tolist()
        made.pop("attention_mask", None)
        if len(tokens) >= self._limit:
            raise TaskError(
                pb.BAD_REQUEST,
                f"the conversation has {len(tokens)} tokens with its images, and the model's "
                f"context {self._limit}",
                "send fewer or smaller images, or less text",
            )
        return Seen(tokens, {name: v for name, v in made.items() if isinstance(v, torch.Tensor)})


def load_processor(path: Path, tokenizer: Any, *, limit: int) -> Processor:
    """Return the processor of the model in the directory `path`, which has `tokenizer`.

    Raises:
        TaskError: BAD_REQUEST if there is none that runs here, with the reason.
    """
    try:
        check_bounds(path)
        return Processor(_loaded(path, tokenizer), limit=limit)
    except TaskError:
        raise
    # What processors of all kinds, damaged ones among them, raise is not told anywhere.
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise TaskError(
            pb.BAD_REQUEST,
            f"{path.name} has no processor that runs here: "
            f"{shown(lines[0] if lines else type(error).__name__)}",
            "choose another model to send images to",
        ) from None


def _loaded(path: Path, tokenizer: Any) -> Any:
    has = {"image_processor": _image_processor(path), "tokenizer": tokenizer}

    class SeesAlone(_processor_class(path)):  # type: ignore[misc]
        """The model's processor, without what it would need for films and sounds."""

        @classmethod
        def _get_arguments_from_pretrained(cls, *args: Any, **kwargs: Any) -> list[Any]:
            return [has.get(name) for name in cls.get_attributes()]

        def check_argument_for_proper_class(self, name: str, argument: Any) -> Any:
            if argument is None and name not in has:
                return None
            return super().check_argument_for_proper_class(name, argument)

    return SeesAlone.from_pretrained(path, local_files_only=True, trust_remote_code=False)


def _image_processor(path: Path) -> Any:
    if processor_name(path) == "Idefics3Processor":
        # transformers 5.17 lets nobody find it without torchvision, which its file only mentions.
        return Idefics3ImageProcessorPil.from_pretrained(path, local_files_only=True)
    return AutoImageProcessor.from_pretrained(
        path, backend="pil", local_files_only=True, trust_remote_code=False
    )


def _processor_class(path: Path) -> Any:
    name = processor_name(path)
    found = processor_class_from_name(name) if name.endswith("Processor") else None
    if isinstance(found, type) and issubclass(found, transformers.ProcessorMixin):
        return found
    config = transformers.AutoConfig.from_pretrained(
        path, local_files_only=True, trust_remote_code=False
    )
    return PROCESSOR_MAPPING[type(config)]
