"""What a programmed model's `load_weights` is given: a checkpoint's tensors, or only their shapes and dtypes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import groupby

import torch
from torch import Tensor, nn

from weft.checkpoint.reader import Checkpoint
from weft.layers.layer import Layer
from weft.layers.public.loaded_weight import put_into
from weft.layers.public.stored_tensor import Source, StoredTensor
from weft.ops.quantized import QuantizedWeight


class Reading(Iterable[tuple[str, Tensor]]):
    """A checkpoint's (name, handle) pairs, once, in the order of its tensors.

    last: the name given last. used: names of the handles that something took. as_codes: of those taken as codes.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint, self.last = checkpoint, "(none read)"
        self.used: set[str] = set()
        self.as_codes: set[str] = set()

    def __iter__(self) -> Iterator[tuple[str, Tensor]]:
        for name, source in self._sources():
            self.last = name
            info = self.checkpoint.tensors[name]
            yield name, StoredTensor.of(info.shape, info.dtype, source)

    def _sources(self) -> Iterator[tuple[str, Source]]:
        """How each tensor is read. Tensors without codes are read in runs, one after another in a file's order."""
        checkpoint = self.checkpoint
        for has_codes, names in groupby(checkpoint.tensors, checkpoint.has_codes):
            if has_codes:
                yield from ((name, self._coded(name)) for name in names)
                continue
            for name, tensor in checkpoint.read(list(names)):
                yield name, Source(numbers=partial(_given, tensor), on_use=partial(self.used.add, name))

    def _coded(self, name: str) -> Source:
        checkpoint = self.checkpoint
        return Source(numbers=lambda: next(iter(checkpoint.read([name])))[1], on_use=partial(self.used.add, name),
                      codes=partial(self._codes, name),
                      int8_activations=checkpoint.has_int8_activations(name),
                      is_turned=checkpoint.codes_are_turned(name))

    def _codes(self, name: str) -> QuantizedWeight | None:
        codes = self.checkpoint.quantized(name)
        if codes is not None:
            self.as_codes.add(name)
        return codes


class Headers(Reading):
    """The same pairs with numbers on "meta", which have shape and dtype only: no weights are read."""

    def _sources(self) -> Iterator[tuple[str, Source]]:
        for name, info in self.checkpoint.tensors.items():
            numbers = partial(torch.empty, info.shape, dtype=info.dtype, device="meta")
            yield name, Source(numbers=numbers, on_use=partial(self.used.add, name))


def _given(tensor: Tensor) -> Tensor:
    return tensor


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
