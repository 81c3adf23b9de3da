"""Chat templates in image pipelines, whose text encoders are language models in some families.

Z-Image, Flux 2 and others put a prompt into their tokenizer's template while they draw. It is a
program that comes with the model: it runs where those of language models run, within bounds.
"""

import asyncio
import weakref
from typing import Any

from transformers import PreTrainedTokenizerBase

from daiic.worker.engines.transformers_text.chat_template import ChatTemplate, template_of


def bound_templates(pipeline: Any, name: str) -> None:
    """Have every tokenizer of the pipeline called `name` render its template in a process apart.

    The process ends with the tokenizer.
    """
    for part in pipeline.components.values():
        tokenizer = getattr(part, "tokenizer", part)  # a processor has one
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            continue
        template = template_of(tokenizer, name)
        if template is not None:
            part.apply_chat_template = _Rendering(template, tokenizer)
            tokenizer.apply_chat_template = part.apply_chat_template
            weakref.finalize(tokenizer, template.close)


class _Rendering:
    """What `apply_chat_template` of transformers does, for texts; it blocks."""

    def __init__(self, template: ChatTemplate, tokenizer: Any) -> None:
        self._template = template
        self._tokenizer = tokenizer

    def __call__(
        self,
        conversation: Any,
        *,
        tokenize: bool = True,
        return_dict: bool = True,
        padding: Any = False,
        truncation: bool = False,
        max_length: int | None = None,
        return_tensors: str | None = None,
        add_generation_prompt: bool = False,
        **variables: Any,
    ) -> Any:
        variables["add_generation_prompt"] = add_generation_prompt
        several = isinstance(conversation[0], list)
        conversations = conversation if several else [conversation]
        texts = [asyncio.run(self._template.render(one, variables)) for one in conversations]
        if not tokenize:
            return texts if several else texts[0]
        encoded = self._tokenizer(
            texts if several or return_tensors else texts[0],
            add_special_tokens=False,
            padding=padding,
            truncation=truncation,
            max_length=max_length,
            return_tensors=return_tensors,
        )
        return encoded if return_dict else encoded.input_ids
