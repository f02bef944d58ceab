"""The linear layers of foreign models. Each returns (out, bias): the bias is None unless `skip_bias_add` left it out.

One process holds whole matrices, so "parallel" names only say how a matrix would be divided among several.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.layers.context import LayerContext
from weft.layers.layer import Home
from weft.layers.linear import Linear
from weft.layers.public.layer import Part, PublicLayer, StepRef, check_input, own_views, unsupported
from weft.layers.public.packed import PackedWeight
from weft.ops.quantized import QuantizedWeight


class PublicLinear(PublicLayer):
    """x @ weight.T + bias, on memory of its own. rows: of each part of the weight, stacked in this order."""

    takes_integers = True

    def __init__(self, input_size: int, rows: Mapping[Part, int], *, bias: bool, skip_bias_add: bool,
                 return_bias: bool, params_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        for name, size in (("input_size", input_size), *((f"part {part!r}", count) for part, count in rows.items())):
            if not isinstance(size, int) or isinstance(size, bool) or size < 1:
                raise ConfigError(f"{type(self).__name__}.{name}", size, expected="a whole number of at least 1")
        self.params_dtype = params_dtype or self.params_dtype
        self.input_size, self.output_size, self.rows = input_size, sum(rows.values()), dict(rows)
        self.skip_bias_add, self.return_bias = skip_bias_add, return_bias
        self.weight = self.new_parameter(self.output_size, input_size)
        self.bias = self.new_parameter(self.output_size) if bias else None
        self._inner: tuple[Linear, ...] = ()                  # in a tuple: its parameters are this module's

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        has_bias = self.bias is not None and not self.skip_bias_add
        parts = {_inner_part(part): count for part, count in self.rows.items()}
        inner = Linear(self.input_size, parts, bias=has_bias, context=context)
        self._inner = (inner,)
        self.choice, self.takes_codes = inner.choice, inner.takes_codes

    def allocate(self, device: str) -> None:
        """As PublicLayer; the weight has room to be packed in place."""
        super().allocate(device)
        self._inner[0].allocate(device)
        self.weight = self.loadable(self._inner[0].weight.data)

    def own_homes(self) -> dict[str, Home]:
        """As Layer: `weight` and `bias`, or those of each part, `q.weight`."""
        views: dict[str, Tensor] = {}
        for kind in ("weight", "bias"):
            parameter = getattr(self, kind)
            if parameter is not None:
                parts = zip(self.rows, parameter.data.split(list(self.rows.values())), strict=True)
                views |= {_home(part, kind): view for part, view in parts}
        return own_views(self, views)

    def load_part(self, parameter: nn.Parameter, tensor: Tensor, part: Part = None) -> None:
        """As PublicLayer. part None: the whole, all parts one after another."""
        kind = "bias" if parameter is self.bias else "weight"
        if part is not None and part not in self.rows:
            known = ", ".join(map(repr, self.rows))
            raise ConfigError(f"{type(self).__name__}.{kind} shard", part, expected=f"one of {known}")
        if part is not None or len(self.rows) == 1:
            self.fill(_home(next(iter(self.rows)) if part is None else part, kind), tensor)
            return
        if tensor.shape[0] != self.output_size:
            raise ConfigError(f"{type(self).__name__}.{kind}", list(tensor.shape),
                              expected=f"{self.output_size} rows, or a part's with its shard id")
        for name, rows in zip(self.rows, tensor.split(list(self.rows.values())), strict=True):
            self.fill(_home(name, kind), rows)

    def take(self, part: str, weight: QuantizedWeight) -> None:
        """As Layer."""
        self._inner[0].take(_inner_home(part), weight)
        self.filled.add(part)

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer."""
        left_out = self.bias.numel() * self.bias.element_size() if self.bias is not None and self.skip_bias_add else 0
        return left_out + self._inner[0].held_bytes({_inner_home(part): row for part, row in codes.items()})

    def finish_loading(self) -> None:
        """As Layer: the kernel packs the weight; the bias goes with it."""
        (inner,) = self._inner
        inner.weight = nn.Parameter(self.weight.data, requires_grad=False)
        if inner.bias is not None:
            inner.bias = nn.Parameter(self.bias.data, requires_grad=False)
        self.weight = None                                    # with the last reference codes' place is given back
        inner.finish_loading()
        self.weight = PackedWeight.make(inner.weight.shape, inner.weight.dtype, self._unpacked)

    def _unpacked(self) -> Tensor:
        return self._inner[0].product.rows(torch.arange(self.output_size)).to(self.bound().dtype)

    def forward(self, x: Tensor) -> Any:
        """[..., input_size] -> [..., output_size], and the bias that was not added (with return_bias)."""
        context = self.bound()
        check_input(self, "input", x, self.input_size, context)
        flat = x.reshape(-1, self.input_size)
        out = self._inner[0].product(flat).view(*x.shape[:-1], self.output_size)
        if not self.return_bias:
            return out
        return out, self.bias if self.skip_bias_add else None

    def flops_per_token(self, context_len: int) -> int:
        return 2 * self.input_size * self.output_size


class ReplicatedLinear(PublicLinear):
    """One matrix. Arguments as vLLM's class of this name."""

    def __init__(self, input_size: int, output_size: int, bias: bool = True, skip_bias_add: bool = False,
                 params_dtype: torch.dtype | None = None, quant_config: Any = None, prefix: str = "", *,
                 return_bias: bool = True, disable_tp: bool = False) -> None:
        super().__init__(input_size, {None: output_size}, bias=bias, skip_bias_add=skip_bias_add,
                         return_bias=return_bias, params_dtype=params_dtype)


class ColumnParallelLinear(PublicLinear):
    """One matrix whose rows several processes would divide. Arguments as vLLM's class of this name."""

    def __init__(self, input_size: int, output_size: int, bias: bool = True, gather_output: bool = False,
                 skip_bias_add: bool = False, params_dtype: torch.dtype | None = None, quant_config: Any = None,
                 prefix: str = "", *, return_bias: bool = True, disable_tp: bool = False) -> None:
        super().__init__(input_size, {None: output_size}, bias=bias, skip_bias_add=skip_bias_add,
                         return_bias=return_bias, params_dtype=params_dtype)


class RowParallelLinear(PublicLinear):
    """One matrix whose columns several processes would divide. Arguments as vLLM's class of this name."""

    def __init__(self, input_size: int, output_size: int, bias: bool = True, input_is_parallel: bool = True,
                 skip_bias_add: bool = False, params_dtype: torch.dtype | None = None, reduce_results: bool = True,
                 quant_config: Any = None, prefix: str = "", *, return_bias: bool = True,
                 disable_tp: bool = False) -> None:
        super().__init__(input_size, {None: output_size}, bias=bias, skip_bias_add=skip_bias_add,
                         return_bias=return_bias, params_dtype=params_dtype)


class MergedColumnParallelLinear(PublicLinear):
    """Several matrices as one product; shard ids 0, 1, ... in `weight_loader`. Arguments as vLLM's class."""

    def __init__(self, input_size: int, output_sizes: Sequence[int], bias: bool = True, gather_output: bool = False,
                 skip_bias_add: bool = False, params_dtype: torch.dtype | None = None, quant_config: Any = None,
                 prefix: str = "", *, return_bias: bool = True, disable_tp: bool = False) -> None:
        super().__init__(input_size, dict(enumerate(output_sizes)), bias=bias, skip_bias_add=skip_bias_add,
                         return_bias=return_bias, params_dtype=params_dtype)
        self.output_sizes = list(output_sizes)


class QKVParallelLinear(PublicLinear):
    """q, k and v as one product; shard ids "q", "k", "v" in `weight_loader`. Arguments as vLLM's class.

    num_heads, num_kv_heads: of this process.
    """

    def __init__(self, hidden_size: int, head_size: int, total_num_heads: int, total_num_kv_heads: int | None = None,
                 bias: bool = True, skip_bias_add: bool = False, params_dtype: torch.dtype | None = None,
                 quant_config: Any = None, prefix: str = "", *, return_bias: bool = True, disable_tp: bool = False,
                 v_head_size: int | None = None) -> None:
        unsupported("QKVParallelLinear", v_head_size=None if v_head_size == head_size else v_head_size)
        self_heads = total_num_heads if total_num_kv_heads is None else total_num_kv_heads
        super().__init__(hidden_size, {"q": total_num_heads * head_size, "k": self_heads * head_size,
                                       "v": self_heads * head_size}, bias=bias, skip_bias_add=skip_bias_add,
                         return_bias=return_bias, params_dtype=params_dtype)
        self.hidden_size, self.head_size = hidden_size, head_size
        self.total_num_heads = self.num_heads = total_num_heads
        self.total_num_kv_heads = self.num_kv_heads = self_heads


def _home(part: Part, kind: str) -> str:
    return kind if part is None else f"{part}.{kind}"


def _inner_part(part: Part) -> str:
    return "whole" if part is None else str(part)


def _inner_home(home: str) -> str:
    return home if "." in home else f"whole.{home}"
