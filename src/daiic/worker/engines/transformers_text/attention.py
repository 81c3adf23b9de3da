"""Attention over a packed batch, each task with its own keys, for CPUs.

The batching manager packs the tokens of all tasks into one sequence. Its own
way without flash attention is one product of all queries with all keys
under a mask, so that n tasks cost n times too much; on a CPU that is most of
the time. Here tasks of about the same length make one product.
"""

import functools
import itertools
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, eager_mask, sdpa_mask

from daiic.worker.engines.transformers_text import explicit_attention

NAME = "daiic_packed"

ROUND = 64
"""Tasks with one query go together if their numbers of keys round up to the same multiple of this.
Each product costs something of its own, and so does each key that only makes lengths equal."""

RUN = 4
"""Where so many neighbours, on average, are of the same length, each such run stays by itself: its
keys need not be copied."""


_Product = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]
"""Attention of tasks of one shape, by query, key, value and mask, as `_Part` has them."""


def serves(model: Any) -> bool:
    """Whether `model` is on the CPU and its layers attend in a way that is known here.

    All must attend to what is before, or to a window of it. Of models that
    transformers loads without sdpa, which leaves out what they need, that is
    known of those with capped logits or sinks.
    """
    config = model.config.get_text_config()
    layers = set(getattr(config, "layer_types", None) or ["full_attention"])
    if model.device.type != "cpu" or not layers <= {"full_attention", "sliding_attention"}:
        return False
    if model.config._attn_implementation == "eager":
        return has_capped_logits(config) or any(
            getattr(module, "sinks", None) is not None for module in model.modules()
        )
    return bool(model.config._attn_implementation == "sdpa")


def has_capped_logits(config: Any) -> bool:
    """Whether a text model's attention has capped logits."""
    return bool(getattr(config, "attn_logit_softcapping", None))


def register() -> None:
    """Make `NAME` known to transformers as an attention implementation, masked like sdpa.

    The manager's own for models that cannot have sdpa gets a mask too, without
    which they would look ahead in what is no batch: when they make embeddings.
    """
    AttentionInterface.register(NAME, packed_attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    AttentionMaskInterface.register("paged|eager", eager_mask)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each task, causally, and in the layer's window if it has one.

    `query` is [1, heads, tokens, width], `key` and `value` [1, fewer heads,
    cached tokens, width]; `cu_seq_lens_q` and `cu_seq_lens_k` say where each
    task begins. Returns [1, tokens, heads, width]. Without them this is
    transformers' ordinary attention.
    """
    # Older versions of transformers leave it to the attention to put new keys into the cache.
    cache = kwargs.pop("cache", None)
    if cache is not None:
        where = {name: kwargs[name] for name in ("read_index", "write_index")}
        states = cache.update(key, value, layer_idx=module.layer_idx, **where)
        key, value = (held.transpose(0, 1).unsqueeze(0) for held in states)
    softcap, sinks = kwargs.get("softcap"), getattr(module, "sinks", None)
    product: _Product
    explicit = softcap is not None or sinks is not None
    if explicit:
        product = functools.partial(
            explicit_attention.attend, scaling=scaling, softcap=softcap, sinks=sinks
        )
    else:
        product = functools.partial(_fused, scaling=scaling)
    if "cu_seq_lens_q" not in kwargs and explicit:
        return product(query, key, value, attention_mask).transpose(1, 2).contiguous(), None
    if "cu_seq_lens_q" not in kwargs:
        plain: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **kwargs
        )
        return plain
    window = _window(module)
    starts_k = kwargs["cu_seq_lens_k"]
    if isinstance(starts_k, dict):
        starts_k = starts_k["sliding_attention" if window else "full_attention"]
    parts = _parts(
        tuple(kwargs["cu_seq_lens_q"].tolist()), tuple(starts_k.tolist()), window, query.dtype
    )
    query, key, value = (states[0].transpose(0, 1) for states in (query, key, value))
    if len(parts) == 1:
        return _attend(parts[0], product, query, key, value).unsqueeze(0), None
    answer = query.new_empty(query.shape[0], query.shape[1], value.shape[2])
    for part in parts:
        answer[part.queries] = _attend(part, product, query, key, value)
    return answer.unsqueeze(0), None


def _window(module: Any) -> int:
    """Return how many keys a query of this layer sees, its own included; 0 for all before it.

    The batching manager gives layers their caches by the same rule.
    """
    config = getattr(module, "config", None)
    layers = getattr(config, "layer_types", None)
    if layers is not None and layers[module.layer_idx] != "sliding_attention":
        return 0
    return getattr(config, "sliding_window", None) or 0


@dataclass(frozen=True, slots=True)
class _Part:
    """Tasks that make one product, and where their tokens are in the batch.

    All have the same number of queries and of keys. `mask` is added to the
    weights, [tasks, 1, 1, keys] or [queries, keys], and hides keys that are
    another task's or lie ahead; it is None if the task's own order says all.
    """

    tasks: int
    queries: slice | torch.Tensor
    keys: slice | torch.Tensor
    mask: torch.Tensor | None


@functools.lru_cache(maxsize=4)
def _parts(
    starts_q: tuple[int, ...], starts_k: tuple[int, ...], window: int, dtype: torch.dtype
) -> list[_Part]:
    """Return how the tasks go together. Layers of a step ask the same, so it is remembered."""

    def length(task: int) -> tuple[int, int]:
        return starts_q[task + 1] - starts_q[task], starts_k[task + 1] - starts_k[task]

    alike: dict[tuple[int, int], list[list[int]]] = defaultdict(list)
    for (queries, keys), run in itertools.groupby(range(len(starts_q) - 1), length):
        alike[queries, -(-keys // ROUND) * ROUND if queries == 1 else keys].append(list(run))
    parts = []
    for runs in alike.values():
        tasks = list(itertools.chain(*runs))
        groups = runs if len(runs) * RUN <= len(tasks) else [tasks]
        parts += [_part(starts_q, starts_k, group, window, dtype) for group in groups]
    return parts


def _part(
    starts_q: tuple[int, ...],
    starts_k: tuple[int, ...],
    tasks: list[int],
    window: int,
    dtype: torch.dtype,
) -> _Part:
    queries = starts_q[tasks[0] + 1] - starts_q[tasks[0]]
    lengths = [starts_k[task + 1] - starts_k[task] for task in tasks]
    keys = max(lengths)
    seen = None
    if min(lengths) < keys:
        seen = (torch.arange(keys) < torch.tensor(lengths)[:, None])[:, None, None]
    elif queries > 1 and (queries < keys or 0 < window < keys):
        seen = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
        if window:
            seen = seen.triu(keys - queries - window + 1)
    neighbours = tasks[-1] - tasks[0] == len(tasks) - 1
    return _Part(
        len(tasks),
        _places(starts_q, tasks, queries, neighbours),
        _places(starts_k, tasks, keys, neighbours and min(lengths) == keys),
        None
        if seen is None
        else torch.zeros(seen.shape, dtype=dtype).masked_fill(~seen, -torch.inf),
    )


def _places(
    starts: tuple[int, ...], tasks: list[int], length: int, in_a_row: bool
) -> slice | torch.Tensor:
    """Return where the first `length` tokens of each task are, or others' after its own."""
    if in_a_row:
        return slice(starts[tasks[0]], starts[tasks[-1] + 1])
    first = torch.tensor([starts[task] for task in tasks])
    return (first[:, None] + torch.arange(length)).clamp_(max=starts[-1] - 1).flatten()


def _attend(
    part: _Part, product: _Product, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """Return [tokens of the tasks, heads, width] from states [tokens of all, heads, width].

    The last query is that of the last key.
    """
    answer = product(
        _per_task(part.tasks, part.queries, query),
        _per_task(part.tasks, part.keys, key),
        _per_task(part.tasks, part.keys, value),
        part.mask,
    )
    return answer.transpose(1, 2).flatten(0, 1)


def _fused(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    *,
    scaling: float | None,
) -> torch.Tensor:
    """Return [tasks, heads, queries, width]."""
    tasks, heads, queries, width = query.shape
    if queries == 1:
        # The query heads that share a key head can stand where queries stand.
        query = query.reshape(tasks, key.shape[1], -1, width)
        answer = scaled_dot_product_attention(query, key, value, mask, scale=scaling)
        return answer.reshape(tasks, heads, 1, -1)
    return scaled_dot_product_attention(
        query, key, value, mask, is_causal=mask is None, scale=scaling, enable_gqa=True
    )


def _per_task(tasks: int, where: slice | torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    """Return [tasks, heads, length, width], a view if `where` is a slice."""
    found = states[where] if isinstance(where, slice) else states.index_select(0, where)
    return found.reshape(tasks, -1, *states.shape[1:]).transpose(1, 2)
