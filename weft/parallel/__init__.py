"""Processes that share a model: groups of ranks, the numbers that they exchange, and what constructors see of them."""

from __future__ import annotations

from weft.parallel.group import Group
from weft.parallel.ranks import (
    Ranks,
    current_ranks,
    divide,
    get_dp_group,
    get_ep_group,
    get_pp_group,
    get_tensor_model_parallel_rank,
    get_tensor_model_parallel_world_size,
    get_tp_group,
    pipeline_span,
    running_on,
    split_tensor_along_last_dim,
    tensor_model_parallel_all_gather,
    tensor_model_parallel_all_reduce,
)

__all__ = [
    "Group", "Ranks", "current_ranks", "divide", "get_dp_group", "get_ep_group", "get_pp_group",
    "get_tensor_model_parallel_rank", "get_tensor_model_parallel_world_size", "get_tp_group", "pipeline_span",
    "running_on", "split_tensor_along_last_dim", "tensor_model_parallel_all_gather",
    "tensor_model_parallel_all_reduce",
]
