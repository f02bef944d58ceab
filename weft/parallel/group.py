"""`Group`: the processes that share one thing (a layer's columns, a model's stages), and this process's place there.

The attribute names are those of vLLM's group coordinator, which model files read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from weft.errors import ConfigError
from weft.parallel import collectives

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup


class Group:
    """Process number `rank_in_group` of `world_size`. processes: torch's group, by which they exchange numbers.

    Without `processes` the group is this process alone, and each exchange returns what it was given.
    """

    def __init__(self, processes: ProcessGroup | None = None) -> None:
        self.device_group = self.cpu_group = processes
        self.rank_in_group = 0 if processes is None else processes.rank()
        self.world_size = 1 if processes is None else processes.size()

    @property
    def rank(self) -> int:
        """As rank_in_group."""
        return self.rank_in_group

    @property
    def ranks(self) -> list[int]:
        """Of all processes of the group."""
        return list(range(self.world_size))

    @property
    def is_first_rank(self) -> bool:
        """True for the process that has the first part."""
        return self.rank_in_group == 0

    @property
    def is_last_rank(self) -> bool:
        """True for the process that has the last part."""
        return self.rank_in_group == self.world_size - 1

    @property
    def next_rank(self) -> int:
        """The process after this one; after the last, the first."""
        return (self.rank_in_group + 1) % self.world_size

    @property
    def prev_rank(self) -> int:
        """The process before this one; before the first, the last."""
        return (self.rank_in_group - 1) % self.world_size

    def all_reduce(self, input_: Tensor) -> Tensor:
        """The sum of all processes' tensors; of one process, the tensor itself."""
        return input_ if self.cpu_group is None else collectives.all_reduce(input_, self.cpu_group)

    def all_gather(self, input_: Tensor, dim: int = -1) -> Tensor:
        """All processes' tensors along one dimension."""
        return input_ if self.cpu_group is None else collectives.all_gather(input_, dim, self.cpu_group)

    def reduce_scatter(self, input_: Tensor, dim: int = -1) -> Tensor:
        """This process's equal part, along one dimension, of the sum of all processes' tensors."""
        size = input_.shape[dim]
        if size % self.world_size:
            raise ConfigError("reduce_scatter.input_", list(input_.shape),
                              expected=f"a multiple of {self.world_size} entries in dimension {dim}")
        return self.all_reduce(input_).chunk(self.world_size, dim)[self.rank_in_group]

    def broadcast(self, input_: Tensor, src: int = 0) -> Tensor:
        """The tensor of process `src`."""
        return input_ if self.cpu_group is None else collectives.broadcast(input_, src, self.cpu_group)

    def send(self, tensor: Tensor, dst: int | None = None) -> None:
        """Send a tensor to a process; None: to the next one."""
        collectives.send(tensor, self.next_rank if dst is None else dst, self._several("send"))

    def recv(self, size: Sequence[int], dtype: torch.dtype, src: int | None = None) -> Tensor:
        """A tensor from a process; None: from the one before."""
        return collectives.receive(size, dtype, self.prev_rank if src is None else src, self._several("recv"))

    def send_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Send tensors to the next process, which knows their names, shapes and dtypes."""
        for name in sorted(tensors):
            self.send(tensors[name])

    def receive_tensors(self, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors from the process before. like: tensors of the same names, shapes and dtypes."""
        return {name: self.recv(like[name].shape, like[name].dtype) for name in sorted(like)}

    def _several(self, what: str) -> ProcessGroup:
        if self.cpu_group is None:
            raise RuntimeError(f"{what}: the group is one process, which has nobody to exchange tensors with")
        return self.cpu_group
