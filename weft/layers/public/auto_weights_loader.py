"""`AutoWeightsLoader`: gives a checkpoint's tensors to the parameters of the same names. Arguments are vLLM's.

A module's own `load_weights`, and a parameter's own `weight_loader`, come first. A tensor that nothing takes is an
error, unless an option says that such names may be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from torch import Tensor, nn

from weft.errors import CheckpointError
from weft.layers.public.stages import PPMissingLayer
from weft.layers.public.stored_tensor import leave_out
from weft.layers.public.weights import default_weight_loader
from weft.layers.public.weights_mapper import WeightsMapper

# Tables of rotary positions that older checkpoints have; models compute them.
_ROTARY = ("rotary_emb.inv_freq", "rotary_emb.cos_cached", "rotary_emb.sin_cached")
_Pairs = Iterable[tuple[str, Tensor]]


class AutoWeightsLoader:
    """Walks a module's tree along the names of tensors, in the order in which they come.

    skip_prefixes, skip_substrs: names that are not loaded. ignore_unexpected_prefixes, ignore_unexpected_suffixes:
    names that may have no parameter.
    """

    def __init__(self, module: nn.Module, *, skip_prefixes: Sequence[str] | None = None,
                 skip_substrs: Sequence[str] | None = None, ignore_unexpected_prefixes: Sequence[str] | None = None,
                 ignore_unexpected_suffixes: Sequence[str] | None = None) -> None:
        self.module = module
        self.skip_prefixes, self.skip_substrs = list(skip_prefixes or ()), [*(skip_substrs or ()), *_ROTARY]
        self.ignore_unexpected_prefixes = list(ignore_unexpected_prefixes or ())
        self.ignore_unexpected_suffixes = list(ignore_unexpected_suffixes or ())

    def load_weights(self, weights: _Pairs, *, mapper: WeightsMapper | None = None) -> set[str]:
        """The names of the parameters that were filled. mapper: renames the tensors first.

        CheckpointError for a tensor that no parameter takes.
        """
        weights = weights if mapper is None else mapper.apply(weights)
        return set(self._load("", self.module, self._wanted(weights)))

    def _wanted(self, weights: _Pairs) -> Iterator[tuple[str, Tensor]]:
        for name, tensor in weights:
            if self._is_skipped(name):
                leave_out(tensor)
            else:
                yield name, tensor

    def _is_skipped(self, name: str) -> bool:
        return name.startswith(tuple(self.skip_prefixes)) or any(part in name for part in self.skip_substrs)

    def _may_be_unexpected(self, name: str) -> bool:
        return (name.startswith(tuple(self.ignore_unexpected_prefixes))
                or name.endswith(tuple(self.ignore_unexpected_suffixes)))

    def _load(self, prefix: str, module: nn.Module, weights: _Pairs) -> Iterator[str]:
        """Fill what is below a module. prefix: its name, with a dot at the end unless it is the whole model."""
        if isinstance(module, PPMissingLayer):
            _use_up(weights)
            return
        own: Callable[[_Pairs], Iterable[str] | None] | None = getattr(module, "load_weights", None)
        if module is not self.module and callable(own):
            yield from (prefix + name for name in own(weights) or ())
            return
        for first, below in groupby(weights, key=lambda pair: pair[0].split(".", 1)[0]):
            yield from self._load_child(prefix, module, first, ((_after(first, name), x) for name, x in below))

    def _load_child(self, prefix: str, module: nn.Module, name: str, weights: _Pairs) -> Iterator[str]:
        """Give tensors to one child, parameter or buffer of a module, by what their names have after its name."""
        child = module._modules.get(name)
        if child is not None:
            yield from self._load(f"{prefix}{name}.", child, weights)
            return
        target = _own_tensor(module, name)
        for rest, tensor in weights:
            full = f"{prefix}{name}" + (f".{rest}" if rest else "")
            if target is not None and not rest:
                default_weight_loader(target, tensor)
                yield full
            elif self._may_be_unexpected(full):
                leave_out(tensor)
            else:
                raise CheckpointError(self._unexpected(full, prefix, module))

    def _unexpected(self, full: str, prefix: str, module: nn.Module) -> str:
        """The text for a tensor that nothing takes."""
        here = [*(name for name, child in module.named_children()), *module._parameters]
        place = prefix.removesuffix(".") or type(self.module).__name__
        return (f"the checkpoint's tensor {full} has no parameter: {place} ({type(module).__name__}) has "
                f"{', '.join(here) or 'nothing'}. Rename it by a WeightsMapper, or leave it out by skip_prefixes or "
                "ignore_unexpected_prefixes of AutoWeightsLoader.")


def _own_tensor(module: nn.Module, name: str) -> Any:
    """A parameter, or a buffer that checkpoints have (statistics of a batch norm); None: neither."""
    parameter = module._parameters.get(name)
    if parameter is not None or name in module._non_persistent_buffers_set:
        return parameter
    return module._buffers.get(name)


def _after(first: str, name: str) -> str:
    """What follows the first part of a name and its dot."""
    return name.removeprefix(first).removeprefix(".")


def _use_up(weights: _Pairs) -> None:
    for _, tensor in weights:
        leave_out(tensor)
