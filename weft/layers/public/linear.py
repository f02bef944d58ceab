"""The linear layers of foreign models. Each returns (out, bias): the bias is None unless `skip_bias_add` left it out.

Several processes (the tensor group of weft.parallel when the layer is made) divide a matrix by rows or by columns; each
reads its own part from the checkpoint. One process has whole matrices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.layers.context import LayerContext
from weft.layers.layer import Home
from weft.layers.linear import linear_case, with_codes
from weft.layers.public.layer import Part, PublicLayer, StepRef, check_input, check_sizes, shard_of
from weft.layers.public.options import check_unknown
from weft.layers.shard import Shard, Span
from weft.ops.linear import Epilogue, Product, choose_linear, empty_weight, product_bytes
from weft.ops.quantized import QuantizedWeight
from weft.parallel import Group, get_tp_group


class PublicLinear(PublicLayer):
    """x @ weight.T + bias. rows: {shard id: rows} of the weight's parts, stacked in this order; None: it has no parts.

    Rows and columns are Spans where this process has a part of them. weight [N, K], bias [N] or None, of this process.
    Results are newly allocated. options: the keywords that all linears have.
    """

    takes_integers = True
    may_finish_early = True

    def __init__(self, input_size: int | Span, rows: Mapping[Part, int | Span], *, group: Group, bias: bool,
                 skip_bias_add: bool, return_bias: bool, params_dtype: torch.dtype | None, quant_config: Any,
                 prefix: str, unknown: Mapping[str, Any]) -> None:
        super().__init__(quant_config, prefix)
        check_unknown(type(self).__name__, unknown)
        self.params_dtype = params_dtype or self.params_dtype
        self.columns, self.rows = Span.of(input_size), {part: Span.of(count) for part, count in rows.items()}
        self.group, self.tp_size, self.tp_rank = group, group.world_size, group.rank_in_group
        self.input_size, self.output_size = self.columns.size, sum(span.size for span in self.rows.values())
        self.input_size_per_partition = len(self.columns)
        self.output_partition_sizes = [len(span) for span in self.rows.values()]
        self.output_size_per_partition = sum(self.output_partition_sizes)
        self.skip_bias_add, self.return_bias = skip_bias_add, return_bias
        self.weight = self.new_parameter(self.output_size_per_partition, len(self.columns))
        self.bias = self.new_parameter(self.output_size_per_partition) if bias else None
        self.product: Product | None = None
        self.codes: dict[str, QuantizedWeight] = {}           # by home: matrices loaded as codes (quantized values)

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        self.case = linear_case(self.bound(), len(self.columns), self.output_size_per_partition,
                                is_table=True)                # `weight` stays readable
        self.choice = choose_linear(self.case)
        self.takes_codes = self.choice.name == "native"

    def empty(self, name: str, parameter: nn.Parameter, device: str) -> Tensor:
        """As PublicLayer; the weight has room to be packed in place."""
        return empty_weight(self.case) if name == "weight" else super().empty(name, parameter, device)

    def homes_of(self, name: str, parameter: nn.Parameter) -> dict[str, Home]:
        """As PublicLayer: `weight`, or those of each part, `q.weight`."""
        columns = self.columns if parameter.dim() > 1 else None
        views = parameter.data.split(self.output_partition_sizes)
        return {_home(part, name): Home(view, self, _home(part, name), rows, columns)
                for (part, rows), view in zip(self.rows.items(), views, strict=True)}

    def load_part(self, parameter: nn.Parameter, tensor: Tensor, part: Part = None) -> None:
        """As PublicLayer. part None: the whole, all parts one after another; a tuple: these parts."""
        name, part = self.name_of(parameter), shard_of(tensor) if part is None else part
        parts = tuple(self.rows) if part is None else part if isinstance(part, tuple) else (part,)
        unknown = [part for part in parts if part not in self.rows]
        if unknown:
            known = ", ".join(repr(part) for part in self.rows if part is not None) or "none: it has no parts"
            raise ConfigError(f"{type(self).__name__}.{name} shard", unknown[0], expected=known)
        if len(parts) == 1:
            self.fill(_home(parts[0], name), tensor)
            return
        counts = [self.rows[part].size for part in parts]
        if tensor.shape[:1] != (sum(counts),):
            raise ConfigError(f"{type(self).__name__}.{name}", list(tensor.shape),
                              expected=f"{sum(counts)} rows, or a part's rows with its shard id")
        for part, rows in zip(parts, tensor.split(counts), strict=True):
            self.fill(_home(part, name), rows)

    def take(self, part: str, weight: QuantizedWeight) -> None:
        """As Layer."""
        self.codes[part] = weight

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer."""
        return product_bytes(self.case) + (0 if self.bias is None else self.plain_bytes(self.bias))

    def finish_loading(self) -> None:
        """As Layer: the kernel packs the weight. It adds the bias unless `skip_bias_add` or another process does."""
        bias = None if self.bias is None else self.bias.data
        weight = with_codes(self.weight.data, [self.codes.get(_home(part, "weight")) for part in self.rows],
                            self.output_partition_sizes)
        added = None if self.skip_bias_add or not self.columns.is_first else bias
        product = self.product = self.choice.prepare(weight, added, Epilogue(out_dtype=self.case.dtype))
        self.codes = {}
        self.keep("weight", lambda: product.rows(torch.arange(self.output_size_per_partition)))
        if bias is not None:
            self.keep("bias", lambda: bias)
        super().finish_loading()

    def multiplied(self, x: Tensor) -> Tensor:
        """This process's product, [..., K] -> [..., N]."""
        check_input(self, "input", x, self.ready(), len(self.columns))
        assert self.product is not None
        out = self.product(x.reshape(-1, len(self.columns)))
        return out.view(*x.shape[:-1], self.output_size_per_partition)

    def forward(self, x: Tensor) -> Any:
        """[..., K] -> [..., N]; with `return_bias` (that, the bias that was not added or None)."""
        return self.result(self.multiplied(x))

    def result(self, out: Tensor) -> Any:
        """What a call returns."""
        if not self.return_bias:
            return out
        return out, self.bias if self.skip_bias_add else None

    def flops_per_token(self, context_len: int) -> int:
        return 2 * len(self.columns) * self.output_size_per_partition


class ReplicatedLinear(PublicLinear):
    """One matrix, whole in every process. Arguments as vLLM's class of this name."""

    def __init__(self, input_size: int, output_size: int, bias: bool = True, skip_bias_add: bool = False,
                 params_dtype: torch.dtype | None = None, quant_config: Any = None, prefix: str = "", *,
                 return_bias: bool = True, disable_tp: bool = False, **unknown: Any) -> None:
        check_sizes(self, input_size=input_size, output_size=output_size)
        super().__init__(input_size, {None: output_size}, group=Group(), bias=bias, skip_bias_add=skip_bias_add,
                         return_bias=return_bias, params_dtype=params_dtype, quant_config=quant_config, prefix=prefix,
                         unknown=unknown)


class MergedColumnParallelLinear(PublicLinear):
    """Several matrices as one product, divided by rows; shard ids 0, 1, ... in `weight_loader`.

    gather_output: every process gets all columns of the result. Arguments as vLLM's class of this name.
    """

    def __init__(self, input_size: int, output_sizes: Sequence[int], bias: bool = True, gather_output: bool = False,
                 skip_bias_add: bool = False, params_dtype: torch.dtype | None = None, quant_config: Any = None,
                 prefix: str = "", *, return_bias: bool = True, disable_tp: bool = False, **unknown: Any) -> None:
        check_sizes(self, input_size=input_size, **{f"output_sizes[{i}]": n for i, n in enumerate(output_sizes)})
        self._init_rows(input_size, dict(enumerate(output_sizes)), gather_output, disable_tp, bias=bias,
                        skip_bias_add=skip_bias_add, return_bias=return_bias, params_dtype=params_dtype,
                        quant_config=quant_config, prefix=prefix, unknown=unknown)

    def _init_rows(self, input_size: int, sizes: Mapping[Part, int], gather_output: bool, disable_tp: bool,
                   **options: Any) -> None:
        group = Group() if disable_tp else get_tp_group()
        shard = Shard(group.rank_in_group, group.world_size)
        name = type(self).__name__
        super().__init__(input_size, {part: shard.span(f"{name}.output_size", size) for part, size in sizes.items()},
                         group=group, **options)
        self.output_sizes, self.gather_output = list(sizes.values()), gather_output

    def forward(self, x: Tensor) -> Any:
        """As PublicLinear; with `gather_output`, all columns."""
        out = self.multiplied(x)
        if self.gather_output and self.tp_size > 1:
            parts = out.split(self.output_partition_sizes, dim=-1)
            out = torch.cat([self.group.all_gather(part) for part in parts], dim=-1)
        return self.result(out)


class ColumnParallelLinear(MergedColumnParallelLinear):
    """One matrix, divided by rows. Arguments as vLLM's class of this name."""

    def __init__(self, input_size: int, output_size: int, bias: bool = True, gather_output: bool = False,
                 skip_bias_add: bool = False, params_dtype: torch.dtype | None = None, quant_config: Any = None,
                 prefix: str = "", *, output_sizes: Sequence[int] | None = None, return_bias: bool = True,
                 disable_tp: bool = False, **unknown: Any) -> None:
        check_sizes(self, input_size=input_size, output_size=output_size)
        if output_sizes is not None and sum(output_sizes) != output_size:
            raise ConfigError("ColumnParallelLinear.output_sizes", list(output_sizes),
                              expected=f"sizes whose sum is output_size, {output_size}")
        sizes: Mapping[Part, int] = {None: output_size} if output_sizes is None else dict(enumerate(output_sizes))
        self._init_rows(input_size, sizes, gather_output, disable_tp, bias=bias, skip_bias_add=skip_bias_add,
                        return_bias=return_bias, params_dtype=params_dtype, quant_config=quant_config, prefix=prefix,
                        unknown=unknown)


class QKVParallelLinear(PublicLinear):
    """q, k and v as one product, divided by heads; shard ids "q", "k", "v". Arguments as vLLM's class of this name.

    num_heads, num_kv_heads: of this process. Key heads that are fewer than processes are in several of them.
    """

    def __init__(self, hidden_size: int, head_size: int, total_num_heads: int, total_num_kv_heads: int | None = None,
                 bias: bool = True, skip_bias_add: bool = False, params_dtype: torch.dtype | None = None,
                 quant_config: Any = None, prefix: str = "", *, return_bias: bool = True, disable_tp: bool = False,
                 v_head_size: int | None = None, **unknown: Any) -> None:
        kv_heads = total_num_heads if total_num_kv_heads is None else total_num_kv_heads
        v_head_size = head_size if v_head_size is None else v_head_size
        check_sizes(self, hidden_size=hidden_size, head_size=head_size, total_num_heads=total_num_heads,
                    total_num_kv_heads=kv_heads, v_head_size=v_head_size)
        group = Group() if disable_tp else get_tp_group()
        shard = Shard(group.rank_in_group, group.world_size)
        queries, keys = shard.span("total_num_heads", total_num_heads), shard.shared("total_num_kv_heads", kv_heads)
        super().__init__(hidden_size, {"q": queries.times(head_size), "k": keys.times(head_size),
                                       "v": keys.times(v_head_size)}, group=group, bias=bias,
                         skip_bias_add=skip_bias_add, return_bias=return_bias, params_dtype=params_dtype,
                         quant_config=quant_config, prefix=prefix, unknown=unknown)
        self.hidden_size, self.head_size, self.v_head_size = hidden_size, head_size, v_head_size
        self.total_num_heads, self.num_heads = total_num_heads, len(queries)
        self.total_num_kv_heads, self.num_kv_heads = kv_heads, len(keys)
        self.num_kv_head_replicas = max(1, group.world_size // kv_heads)
        self.q_size, self.kv_size = len(queries) * head_size, len(keys) * head_size


class RowParallelLinear(PublicLinear):
    """One matrix, divided by columns; the results of the processes are summed. Arguments as vLLM's class of this name.

    input_is_parallel: x has this process's columns only. reduce_results=False: the result is a partial sum.
    """

    def __init__(self, input_size: int, output_size: int, bias: bool = True, input_is_parallel: bool = True,
                 skip_bias_add: bool = False, params_dtype: torch.dtype | None = None, reduce_results: bool = True,
                 quant_config: Any = None, prefix: str = "", *, return_bias: bool = True, disable_tp: bool = False,
                 **unknown: Any) -> None:
        check_sizes(self, input_size=input_size, output_size=output_size)
        group = Group() if disable_tp else get_tp_group()
        columns = Shard(group.rank_in_group, group.world_size).span("RowParallelLinear.input_size", input_size)
        if bias and not reduce_results and not skip_bias_add and group.world_size > 1:
            raise ConfigError("RowParallelLinear.reduce_results", False, expected="True, or no bias",
                              hint="A bias is added to the sum over processes, once.")
        super().__init__(columns, {None: output_size}, group=group, bias=bias, skip_bias_add=skip_bias_add,
                         return_bias=return_bias, params_dtype=params_dtype, quant_config=quant_config, prefix=prefix,
                         unknown=unknown)
        self.input_is_parallel, self.reduce_results = input_is_parallel, reduce_results

    def forward(self, x: Tensor) -> Any:
        """As PublicLinear."""
        if not self.input_is_parallel and self.tp_size > 1:
            check_input(self, "input", x, self.ready(), self.input_size)
            x = x[..., self.columns.entries]
        out = self.multiplied(x)
        return self.result(self.group.all_reduce(out) if self.reduce_results else out)


def _home(part: Part, kind: str) -> str:
    return kind if part is None else f"{part}.{kind}"
