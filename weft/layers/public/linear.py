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
from weft.layers.linear import linear_case
from weft.layers.public.layer import Part, PublicLayer, StepRef, check_input, check_sizes, shard_of, unsupported
from weft.ops.linear import Epilogue, Product, choose_linear, empty_weight, product_bytes
from weft.ops.quantized import QuantizedWeight


class PublicLinear(PublicLayer):
    """x @ weight.T + bias. rows: {shard id: rows} of the weight's parts, stacked in this order; None: it has no parts.

    weight [N, K], bias [N] or None. Results are newly allocated.
    """

    def __init__(self, input_size: int, rows: Mapping[Part, int], *, bias: bool, skip_bias_add: bool,
                 return_bias: bool, params_dtype: torch.dtype | None, quant_config: Any) -> None:
        super().__init__()
        unsupported(type(self).__name__, quant_config=quant_config)
        check_sizes(self, input_size=input_size, **{f"output_size[{part!r}]": count for part, count in rows.items()})
        self.params_dtype = params_dtype or self.params_dtype
        self.input_size, self.output_size, self.rows = input_size, sum(rows.values()), dict(rows)
        self.skip_bias_add, self.return_bias = skip_bias_add, return_bias
        self.weight = self.new_parameter(self.output_size, input_size)
        self.bias = self.new_parameter(self.output_size) if bias else None
        self.product: Product | None = None

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        self.case = linear_case(context, self.input_size, self.output_size, is_table=True)    # `weight` stays readable
        self.choice = choose_linear(self.case)

    def empty(self, name: str, parameter: nn.Parameter, device: str) -> Tensor:
        """As PublicLayer; the weight has room to be packed in place."""
        return empty_weight(self.case) if name == "weight" else super().empty(name, parameter, device)

    def homes_of(self, name: str, parameter: nn.Parameter) -> dict[str, Tensor]:
        """As PublicLayer: `weight`, or those of each part, `q.weight`."""
        parts = parameter.data.split(list(self.rows.values()))
        return {_home(part, name): view for part, view in zip(self.rows, parts, strict=True)}

    def load_part(self, parameter: nn.Parameter, tensor: Tensor, part: Part = None) -> None:
        """As PublicLayer. part None: the whole, all parts one after another."""
        name, part = self.name_of(parameter), shard_of(tensor) if part is None else part
        if part is not None:
            if part not in self.rows:
                known = ", ".join(repr(part) for part in self.rows if part is not None) or "none: it has no parts"
                raise ConfigError(f"{type(self).__name__}.{name} shard", part, expected=known)
            self.fill(_home(part, name), tensor)
            return
        if tensor.shape[:1] != (self.output_size,):
            raise ConfigError(f"{type(self).__name__}.{name}", list(tensor.shape),
                              expected=f"{self.output_size} rows, or a part's rows with its shard id")
        for part, rows in zip(self.rows, tensor.split(list(self.rows.values())), strict=True):
            self.fill(_home(part, name), rows)

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer."""
        return product_bytes(self.case) + (0 if self.bias is None else self.plain_bytes(self.bias))

    def finish_loading(self) -> None:
        """As Layer: the kernel packs the weight, and keeps the bias unless `skip_bias_add`."""
        bias = None if self.bias is None else self.bias.data
        product = self.choice.prepare(self.weight.data, None if self.skip_bias_add else bias,
                                      Epilogue(out_dtype=self.case.dtype))
        self.product = product
        self.keep("weight", lambda: product.rows(torch.arange(self.output_size)))
        if bias is not None:
            self.keep("bias", lambda: bias)
        super().finish_loading()

    def forward(self, x: Tensor) -> Any:
        """[..., K] -> [..., N]; with `return_bias` (that, the bias that was not added or None)."""
        check_input(self, "input", x, self.ready(), self.input_size)
        assert self.product is not None
        out = self.product(x.reshape(-1, self.input_size)).view(*x.shape[:-1], self.output_size)
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
                         return_bias=return_bias, params_dtype=params_dtype, quant_config=quant_config)


class ColumnParallelLinear(PublicLinear):
    """One matrix whose rows several processes would divide. Arguments as vLLM's class of this name."""

    def __init__(self, input_size: int, output_size: int, bias: bool = True, gather_output: bool = False,
                 skip_bias_add: bool = False, params_dtype: torch.dtype | None = None, quant_config: Any = None,
                 prefix: str = "", *, return_bias: bool = True, disable_tp: bool = False) -> None:
        super().__init__(input_size, {None: output_size}, bias=bias, skip_bias_add=skip_bias_add,
                         return_bias=return_bias, params_dtype=params_dtype, quant_config=quant_config)


class RowParallelLinear(PublicLinear):
    """One matrix whose columns several processes would divide. Arguments as vLLM's class of this name."""

    def __init__(self, input_size: int, output_size: int, bias: bool = True, input_is_parallel: bool = True,
                 skip_bias_add: bool = False, params_dtype: torch.dtype | None = None, reduce_results: bool = True,
                 quant_config: Any = None, prefix: str = "", *, return_bias: bool = True,
                 disable_tp: bool = False) -> None:
        super().__init__(input_size, {None: output_size}, bias=bias, skip_bias_add=skip_bias_add,
                         return_bias=return_bias, params_dtype=params_dtype, quant_config=quant_config)


class MergedColumnParallelLinear(PublicLinear):
    """Several matrices as one product; shard ids 0, 1, ... in `weight_loader`. Arguments as vLLM's class."""

    def __init__(self, input_size: int, output_sizes: Sequence[int], bias: bool = True, gather_output: bool = False,
                 skip_bias_add: bool = False, params_dtype: torch.dtype | None = None, quant_config: Any = None,
                 prefix: str = "", *, return_bias: bool = True, disable_tp: bool = False) -> None:
        super().__init__(input_size, dict(enumerate(output_sizes)), bias=bias, skip_bias_add=skip_bias_add,
                         return_bias=return_bias, params_dtype=params_dtype, quant_config=quant_config)
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
        kv_heads = total_num_heads if total_num_kv_heads is None else total_num_kv_heads
        super().__init__(hidden_size, {"q": total_num_heads * head_size, "k": kv_heads * head_size,
                                       "v": kv_heads * head_size}, bias=bias, skip_bias_add=skip_bias_add,
                         return_bias=return_bias, params_dtype=params_dtype, quant_config=quant_config)
        self.hidden_size, self.head_size = hidden_size, head_size
        self.total_num_heads = self.num_heads = total_num_heads
        self.total_num_kv_heads = self.num_kv_heads = kv_heads


def _home(part: Part, kind: str) -> str:
    return kind if part is None else f"{part}.{kind}"
