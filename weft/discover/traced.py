"""`Traced`: a tiny model with all that it computed for one prompt, and its pieces: layers, and leaves with weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.architectures.reader import ConfigReader
from weft.discover.no_part import NoPartError
from weft.testing.diagnosis import difference
from weft.testing.reference import Trace, as_rows, run_reference

CLOSE = 1e-4             # relative difference of numbers that are equal but for rounding
NUM_TOKENS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """A module without parts of its own. given, result: rows [T, N] of what went in and came out, heads beside each
    other. shape: of what went in.
    """

    name: str
    module: nn.Module
    given: Tensor
    result: Tensor
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Product(Leaf):
    """A matrix product. weight: [N, K]. transposed: it is stored [K, N]."""

    weight: Tensor
    bias: Tensor | None
    transposed: bool


def same(x: Tensor, y: Tensor) -> bool:
    """Whether two results are equal but for rounding."""
    return x.shape == y.shape and difference(x, y) <= CLOSE


class Traced:
    """One run of a model. reader: of its config. layers: names of the decoder layers, in order."""

    def __init__(self, model: Any, reader: ConfigReader, seed: int = 0) -> None:
        self.model, self.reader = model, reader
        size = model.config.get_text_config(decoder=True).vocab_size
        generator = torch.Generator().manual_seed(seed)
        self.ids = torch.randint(16, size, (NUM_TOKENS,), generator=generator).tolist()
        self.trace: Trace = run_reference(model, self.ids)
        self.layers = self._find_layers()
        self._used: set[str] | None = None
        self._mixed: dict[int, dict[str, tuple[bool, bool]]] = {}

    def runs(self, parameter: str) -> bool:
        """Whether the model's results depend on a parameter: whether it has a gradient."""
        if self._used is None:
            with torch.enable_grad():
                result = self.model(torch.tensor([self.ids]), use_cache=False)
                (result.logits if hasattr(result, "logits") else result[0]).sum().backward()
            self._used = {name for name, x in self.model.named_parameters() if x.grad is not None}
            self.model.zero_grad()
        return parameter in self._used

    def given(self, name: str) -> Tensor:
        """[T, N] that went into a module. NoPartError when it is no row for each token."""
        return self._known(self.trace.input(name, NUM_TOKENS), name, "what goes in has no row for each token")

    def result(self, name: str) -> Tensor:
        """[T, N] that came out of a module."""
        return self._known(self.trace.output(name, NUM_TOKENS), name, "what comes out has no row for each token")

    def _known(self, found: Tensor | None, name: str, reason: str) -> Tensor:
        if found is None:
            raise NoPartError(name, reason)
        return found

    def _find_layers(self) -> list[str]:
        """The longest list of modules of which each takes what the one before it returned."""
        best: list[str] = []
        for name, module in self.model.named_modules():
            if not isinstance(module, nn.ModuleList) or len(module) <= len(best):
                continue
            names = [f"{name}.{number}" for number in range(len(module))]
            found = [(self.trace.input(each, NUM_TOKENS), self.trace.output(each, NUM_TOKENS)) for each in names]
            known = [(x, y) for x, y in found if x is not None and y is not None and x.shape == y.shape]
            if len(known) == len(found) and all(same(after[0], before[1]) for before, after in pairwise(known)):
                best = names
        if not best:
            raise NoPartError(type(self.model).__name__, "a list of layers that run one after another")
        return best

    def leaves(self, prefix: str) -> Iterator[Leaf]:
        """The leaves whose names begin so, in the order in which they ended."""
        modules = dict(self.model.named_modules())
        for name in self.trace.outputs:
            module = modules[name]
            if name.startswith(prefix) and name in self.trace.inputs and not list(module.children()):
                leaf = self._leaf(name, module)
                if leaf is not None:
                    yield leaf

    def _leaf(self, name: str, module: nn.Module) -> Leaf | None:
        raw = self.trace.inputs[name]
        given, result = token_rows(raw), self.trace.outputs[name]
        out = next((rows for x in result if (rows := token_rows(x)) is not None), None)
        if given is None or out is None or not raw.is_floating_point():
            return None
        weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
        bias = bias if isinstance(bias, Tensor) and bias.dim() == 1 else None
        if isinstance(weight, Tensor) and weight.dim() == 2:
            for transposed in (False, True):
                matrix = weight.detach().T if transposed else weight.detach()
                if matrix.shape == (out.shape[1], given.shape[1]) and same(F.linear(given, matrix, bias), out):
                    return Product(name, module, given, out, tuple(raw.shape), matrix, bias, transposed)
        return Leaf(name, module, given, out, tuple(raw.shape))

    def after_mixing(self, layer: int) -> dict[str, tuple[bool, bool]]:
        """{module: (what goes in, what comes out) depends on earlier tokens} of a layer: its first row is changed, and
        the rows after it are compared.
        """
        if layer not in self._mixed:
            module = self.model.get_submodule(self.layers[layer])
            handle = module.register_forward_pre_hook(_first_row_changed, with_kwargs=True)
            try:
                other = run_reference(self.model, self.ids)
            finally:
                handle.remove()
            self._mixed[layer] = {
                name: (_differ(self.trace.inputs[name], other.inputs[name]),
                       any(map(_differ, self.trace.outputs[name], other.outputs[name])))
                for name in self.trace.inputs if name.startswith(self.layers[layer]) and name in other.inputs}
        return self._mixed[layer]


def token_rows(x: Tensor) -> Tensor | None:
    """[T, N] of a tensor that has a row for each token, also where heads come first; None: it has none."""
    if x.dim() == 4 and x.shape[2] == NUM_TOKENS != x.shape[1]:
        x = x.transpose(1, 2)
    return as_rows(x, NUM_TOKENS)


def _first_row_changed(module: nn.Module, args: tuple, keywords: dict[str, Any]) -> tuple[tuple, dict[str, Any]]:
    def changed(x: Tensor) -> Tensor:
        x = x.clone()
        x[:, 0] += torch.linspace(-1.0, 1.0, x.shape[-1])
        return x

    if args:
        return (changed(args[0]), *args[1:]), keywords
    name = next(name for name, x in keywords.items() if isinstance(x, Tensor))
    return args, keywords | {name: changed(keywords[name])}


def _differ(x: Tensor, y: Tensor) -> bool:
    """Whether two results differ for tokens after the first."""
    mine, other = token_rows(x), token_rows(y)
    return mine is not None and other is not None and mine.shape == other.shape and not same(mine[1:], other[1:])
