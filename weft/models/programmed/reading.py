"""What a programmed model's `load_weights` is given: a checkpoint's tensors, or only their shapes and dtypes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from weft.checkpoint.reader import Checkpoint
from weft.layers.layer import Layer
from weft.layers.public.loaded_weight import put_into


class Reading(Iterable[tuple[str, Tensor]]):
    """A checkpoint's (name, tensor) pairs, once. last: the name given last."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._checkpoint, self.last = checkpoint, "(none read)"

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in self._tensors():
            self.last = name
            yield name, tensor

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        return self._checkpoint.read(self._checkpoint.tensors)


class Headers(Reading):
    """The same pairs with tensors on "meta", which have shape and dtype but no numbers: no weights are read."""

    def _tensors(self) -> Iterator[tuple[str, Tensor]]:
        for name, info in self._checkpoint.tensors.items():
            yield name, torch.empty(info.shape, dtype=info.dtype, device="meta")


def drop_memory(model: nn.Module) -> None:
    """Move parameters and buffers of torch's own modules to "meta"; those of weft's layers have no memory yet."""
    for module in model.modules():
        if isinstance(module, Layer):
            continue
        for parameter in module.parameters(recurse=False):
            if not parameter.is_meta:
                attributes = dict(vars(parameter))
                put_into(parameter, torch.empty(parameter.shape, dtype=parameter.dtype, device="meta"))
                vars(parameter).update(attributes)
        for name, buffer in module.named_buffers(recurse=False):
            module._buffers[name] = torch.empty(buffer.shape, dtype=buffer.dtype, device="meta")


def needs_numbers(error: BaseException | None) -> bool:
    """Whether an exception says that code wanted the numbers of a tensor on "meta"."""
    return isinstance(error, RuntimeError) and "meta tensor" in str(error)
