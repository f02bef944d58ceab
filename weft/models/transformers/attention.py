"""Two attention functions registered with Transformers: one attends over weft's paged cache, one only looks.

A model whose attention goes through Transformers' `ALL_ATTENTION_FUNCTIONS` calls whatever function its config names.
Each attention module finds its cache in its own attribute `weft`, so the functions keep no state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.layers.paged_attention import PagedAttention
from weft.layers.public.layer import StepRef

PAGED, LOOKING = "weft_paged", "weft_looking"


@dataclass(slots=True, eq=False)
class Wire:
    """What an attention module has as `weft`: its part of the paged cache, and the way to the step.

    value_dim: size of a value head; it may be smaller than `paged.head_dim`, to which keys and values are padded.
    """

    paged: PagedAttention
    step: StepRef
    value_dim: int


@dataclass(frozen=True, slots=True, eq=False)
class AttentionCall:
    """One call of the attention function on the "meta" device. mask: as `looking_mask` made it, or None."""

    module: nn.Module
    query: Tensor
    key: Tensor
    value: Tensor
    mask: Tensor | None
    keywords: dict[str, Any]


def attend_paged(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None,
                 **keywords: Any) -> tuple[Tensor, None]:
    """Attention of a packed step: query [1, H, T, D], key and value [1, Hkv, T, D] -> [1, T, H, D of a value].

    Which keys a query sees is in the step's plan; a mask made by the model cannot be used.
    """
    if attention_mask is not None:
        raise RuntimeError(f"{type(module).__name__} brings an attention mask of its own to a packed step")
    wire: Wire = module.weft  # pyright: ignore[reportAssignmentType]
    paged = wire.paged
    q, k, v = (_rows(x, paged) for x in (query, key, value))
    out = paged(q, k, v, wire.step.current(module), torch.empty(q.shape, dtype=q.dtype))
    return out[..., : wire.value_dim].unsqueeze(0), None


def _rows(x: Tensor, paged: PagedAttention) -> Tensor:
    """[1, H, T, D] -> [T, H, head_dim of the cache], a token's heads together."""
    x = x[0].transpose(0, 1)
    if x.dtype != paged.dtype:
        x = x.to(paged.dtype)
    if x.shape[-1] != paged.head_dim:
        x = F.pad(x, (0, paged.head_dim - x.shape[-1]))
    return x if x.stride()[1:] == (paged.head_dim, 1) else x.contiguous()


def look(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None,
         **keywords: Any) -> tuple[Tensor, None]:
    """Notes the call in the module's list `weft_calls`; returns zeros [1, T, H, D of a value]."""
    calls: list[AttentionCall] = module.weft_calls  # pyright: ignore[reportAssignmentType]
    calls.append(AttentionCall(module, query, key, value, attention_mask, keywords))
    batch, heads, tokens, _ = query.shape
    return query.new_zeros(batch, tokens, heads, value.shape[-1]), None


def looking_mask(batch_size: int, q_length: int, kv_length: int, mask_function: Any = None, device: Any = None,
                 **keywords: Any) -> Tensor:
    """A mask without numbers, which carries the function that says which key each query sees, as `weft_sees`."""
    mask = torch.empty((batch_size, 1, q_length, kv_length), dtype=torch.bool, device="meta")
    vars(mask)["weft_sees"] = mask_function
    return mask


def look_at_experts(module: nn.Module, hidden_states: Tensor, *routing: Any, **keywords: Any) -> Tensor:
    """In place of a mixture of experts on the "meta" device, whose work depends on numbers."""
    return torch.empty_like(hidden_states)


def register() -> None:
    """Make the functions known to Transformers. Doing it again changes nothing."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(PAGED, attend_paged)
    AttentionInterface.register(LOOKING, look)
    AttentionMaskInterface.register(LOOKING, looking_mask)
    try:
        from transformers.integrations.moe import ExpertsInterface
    except ImportError:                                        # older versions of Transformers have none
        return
    ExpertsInterface.register(LOOKING, look_at_experts)
