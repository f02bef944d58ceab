"""`Ranks`: the groups that this process is in, and the functions by which model code asks for them.

The owner of a model enters `running_on(ranks)` around its constructor and around each forward pass. Elsewhere every
group is this process alone. Names as in vLLM's `vllm.distributed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from torch import Tensor

from weft.errors import ConfigError
from weft.parallel.group import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """tensor: processes that divide each layer. pipeline: those that divide the layers into stages.

    expert, data: those that divide experts, and requests.
    """

    tensor: Group = field(default_factory=Group)
    pipeline: Group = field(default_factory=Group)
    expert: Group = field(default_factory=Group)
    data: Group = field(default_factory=Group)


_ranks: ContextVar[Ranks | None] = ContextVar("ranks", default=None)


@contextmanager
def running_on(ranks: Ranks) -> Iterator[None]:
    """Within, the functions below answer for these ranks."""
    token = _ranks.set(ranks)
    try:
        yield
    finally:
        _ranks.reset(token)


def current_ranks() -> Ranks:
    """The ranks of the surrounding `running_on`; without one, this process alone."""
    return _ranks.get() or Ranks()


def get_tp_group() -> Group:
    """Processes that divide each layer."""
    return current_ranks().tensor


def get_pp_group() -> Group:
    """Processes that each have some of the layers."""
    return current_ranks().pipeline


def get_ep_group() -> Group:
    """Processes that each have some of the experts."""
    return current_ranks().expert


def get_dp_group() -> Group:
    """Processes that each have some of the requests."""
    return current_ranks().data


def get_tensor_model_parallel_world_size() -> int:
    """Number of processes that divide each layer."""
    return get_tp_group().world_size


def get_tensor_model_parallel_rank() -> int:
    """This process's number among those that divide each layer."""
    return get_tp_group().rank_in_group


def tensor_model_parallel_all_reduce(input_: Tensor) -> Tensor:
    """The sum over the processes that divide each layer."""
    return get_tp_group().all_reduce(input_)


def tensor_model_parallel_all_gather(input_: Tensor, dim: int = -1) -> Tensor:
    """The tensors of the processes that divide each layer, along one dimension."""
    return get_tp_group().all_gather(input_, dim)


def divide(numerator: int, denominator: int) -> int:
    """The quotient. ConfigError when there is a remainder."""
    if numerator % denominator:
        raise ConfigError("divide", (numerator, denominator), expected=f"a multiple of {denominator}",
                          hint="Use a number of processes that divides the model's sizes.")
    return numerator // denominator


def split_tensor_along_last_dim(tensor: Tensor, num_partitions: int,
                                contiguous_split_chunks: bool = False) -> Sequence[Tensor]:
    """Equal parts of the last dimension: views, or copies with `contiguous_split_chunks`."""
    parts = tensor.split(divide(tensor.shape[-1], num_partitions), dim=-1)
    return tuple(part.contiguous() for part in parts) if contiguous_split_chunks else parts


def pipeline_span(num_layers: int, group: Group) -> tuple[int, int]:
    """First layer and end (exclusive) of this process's stage. Stages differ by one layer at most; the last is never
    the largest, because it has the head.
    """
    if num_layers < group.world_size:
        raise ConfigError("num_hidden_layers", num_layers,
                          expected=f"at least one for each of {group.world_size} stages")
    each, more = divmod(num_layers, group.world_size)
    sizes = [each + (group.world_size - 1 - more <= stage < group.world_size - 1) for stage in range(group.world_size)]
    start = sum(sizes[: group.rank_in_group])
    return start, start + sizes[group.rank_in_group]
