"""The two ends of a foreign model: its token table, and its head, which may share that table.

Several processes (the tensor group of weft.parallel when the layer is made) divide a table by rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.errors import ConfigError
from weft.layers.context import LayerContext
from weft.layers.layer import Home
from weft.layers.linear import linear_case
from weft.layers.public.layer import PublicLayer, StepRef, check_input, check_sizes
from weft.layers.public.options import check_unknown
from weft.layers.shard import Shard, Span
from weft.ops.embedding import EmbeddingCase, choose_embedding
from weft.ops.linear import Epilogue, Product, choose_linear, empty_weight, product_bytes
from weft.ops.quantized import QuantizedWeight
from weft.parallel import get_tp_group

DEFAULT_VOCAB_PADDING_SIZE = 64


class VocabParallelEmbedding(PublicLayer):
    """Rows of a table [V, E] by token id. Arguments as vLLM's class of this name.

    org_num_embeddings: rows that the checkpoint has; the table's rows after them are zeros. padding_size: unused,
    because the table has as many rows as there are tokens. is_head: the table is multiplied by too, because a head
    shares it or a model uses this module as its head.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, params_dtype: torch.dtype | None = None,
                 org_num_embeddings: int | None = None, padding_size: int = DEFAULT_VOCAB_PADDING_SIZE,
                 quant_config: Any = None, prefix: str = "", **unknown: Any) -> None:
        super().__init__(quant_config, prefix)
        check_unknown(type(self).__name__, unknown)
        check_sizes(self, num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        self.org_vocab_size = num_embeddings if org_num_embeddings is None else org_num_embeddings
        if not 0 < self.org_vocab_size <= num_embeddings:
            raise ConfigError(f"{type(self).__name__}.org_num_embeddings", org_num_embeddings,
                              expected=f"1 to num_embeddings, {num_embeddings}")
        self.group = get_tp_group()
        self.tp_size, self.tp_rank, self.padding_size = self.group.world_size, self.group.rank_in_group, padding_size
        self.params_dtype = params_dtype or self.params_dtype
        self.num_embeddings = self.num_embeddings_padded = num_embeddings
        self.span = Shard(self.tp_rank, self.tp_size).nearly_equal("num_embeddings", num_embeddings)
        self.num_embeddings_per_partition = len(self.span)
        self.embedding_dim = embedding_dim
        self.weight = self.new_parameter(len(self.span), embedding_dim)
        self.bias: nn.Parameter | None = None
        self.is_head = False
        self.rows: Any = None                                 # what the kernels make of the table: rows by id,
        self.product: Product | None = None                   # and logits, if this layer is a head
        self.codes: QuantizedWeight | None = None             # the table, if it was loaded as codes (quantized values)
        self._table: tuple[VocabParallelEmbedding, ...] = ()  # the layer whose table this is; in a tuple: no child

    def tie(self, table: VocabParallelEmbedding) -> None:
        """The other layer holds the table for both. ConfigError when the tables differ in size."""
        mine, others = ((layer.num_embeddings, layer.embedding_dim) for layer in (self, table))
        if mine != others:
            raise ConfigError(f"{type(self).__name__}.weight", list(others), expected=f"{list(mine)}, the layer's "
                              "sizes: a table of another size was tied to it")
        self._table = (table,)
        table.is_head |= self.is_head
        table.is_quantized |= self.is_quantized

    def own_parameters(self) -> dict[str, nn.Parameter]:
        """As PublicLayer: without a table that another layer holds."""
        own = super().own_parameters()
        return {name: parameter for name, parameter in own.items() if name != "weight" or not self._table}

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        self.case = linear_case(self.bound().weight_only(), self.embedding_dim, len(self.span), is_table=True)
        self.product_choice = choose_linear(self.case)
        self.takes_codes = self.product_choice.name == "native"
        self.choice = choose_embedding(EmbeddingCase(device=context.device, dtype=context.dtype, isa=context.isa))

    def empty(self, name: str, parameter: nn.Parameter, device: str) -> Tensor:
        """As PublicLayer; the table has room to be packed in place. Rows that no checkpoint has are zeros."""
        memory = empty_weight(self.case) if name == "weight" else super().empty(name, parameter, device)
        memory[len(self._stored) :] = 0
        return memory

    @property
    def _stored(self) -> Span:
        """This process's rows of the checkpoint's table."""
        size = self.org_vocab_size
        return Span(min(self.span.start, size), min(self.span.stop, size), size)

    def homes_of(self, name: str, parameter: nn.Parameter) -> dict[str, Home]:
        """As PublicLayer."""
        return {name: Home(parameter.data[: len(self._stored)], self, name, self._stored)}

    def take(self, part: str, weight: QuantizedWeight) -> None:
        """As Layer. Products with a table take floats. Rows that the checkpoint has not make it floats, too."""
        if len(self._stored) == len(self.span):
            self.codes = weight.weight_only()
        else:
            self.weight.data[: len(self._stored)] = weight.dequantize(self.weight.dtype)

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer."""
        return (0 if self._table else product_bytes(self.case)) + (
            0 if self.bias is None else self.plain_bytes(self.bias))

    def finish_loading(self) -> None:
        """As Layer. A table that is only read stays as it was loaded; others are packed or quantized."""
        if not self._table:
            self._prepare(self.weight.data if self.codes is None else self.codes)
            self.codes = None
        if self.bias is not None:
            bias = self.bias.data
            self.keep("bias", lambda: bias)
        super().finish_loading()

    def _prepare(self, table: Tensor | QuantizedWeight) -> None:
        if isinstance(table, Tensor) and not self.is_head and self.case.quantization is None:
            self.rows = self.choice.prepare(table, 1.0)
            self.keep("weight", lambda: table)
            return
        self.product = self.product_choice.prepare(table, None, Epilogue(out_dtype=torch.float32))
        self.rows = rows = self.choice.prepare(self.product, 1.0)
        self.keep("weight", lambda: rows(torch.arange(len(self.span))))

    def forward(self, input_ids: Tensor) -> Tensor:
        """[...] ids -> [..., E]. IndexError for an id that is no row, TypeError for ids that are no integers."""
        context = self.ready()
        if input_ids.is_floating_point() or input_ids.is_complex() or input_ids.dtype == torch.bool:
            raise TypeError(f"{type(self).__name__}: input_ids are {input_ids.dtype}, expected integers")
        if input_ids.device.type != context.device:
            raise ValueError(f"{type(self).__name__}: input_ids are on {input_ids.device}, expected {context.device}")
        if self._table:
            return self._table[0](input_ids)
        flat = input_ids.reshape(-1).long()
        if self.choice.name != "native" or not self.span.is_whole:     # weft's kernel checks, in a recording too
            self._check_ids(flat)
        try:
            return self._looked_up(flat).view(*input_ids.shape, self.embedding_dim)
        except IndexError:
            self._check_ids(flat)
            raise

    def _check_ids(self, ids: Tensor) -> None:
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < self.num_embeddings:
            raise IndexError(f"input_ids: expected ids from 0 to {self.num_embeddings - 1}, there are "
                             f"{int(ids.min())} to {int(ids.max())}")

    def _looked_up(self, ids: Tensor) -> Tensor:
        """Rows of ids [T] from all processes: each gives zeros for rows of others."""
        if self.span.is_whole:
            return self.rows(ids)
        own = ids - self.span.start
        is_own = (own >= 0) & (own < len(self.span))
        rows = self.rows(own.where(is_own, 0)).masked_fill(~is_own.unsqueeze(-1), 0)
        return self.group.all_reduce(rows)

    def logits(self, hidden_states: Tensor) -> Tensor:
        """[..., E] -> [..., V] float32 of this process's rows, with this layer's bias if it has one."""
        check_input(self, "hidden_states", hidden_states, self.ready(), self.embedding_dim)
        (table,) = self._table or (self,)
        flat = hidden_states.reshape(-1, self.embedding_dim)
        out = F.linear(flat.float(), self.weight.float()) if table.product is None else table.product(flat)
        if self.bias is not None:
            out = out + self.bias.float()
        return out.view(*hidden_states.shape[:-1], len(self.span))

    def gathered(self, logits: Tensor) -> Tensor:
        """The logits of all processes, [..., V] in each, from those of each one's rows."""
        if self.span.is_whole:
            return logits
        spans = [Shard(rank, self.tp_size).nearly_equal("num_embeddings", self.num_embeddings)
                 for rank in range(self.tp_size)]
        most = max(map(len, spans))
        parts = self.group.all_gather(F.pad(logits, (0, most - logits.shape[-1]))).split(most, dim=-1)
        return torch.cat([part[..., : len(span)] for part, span in zip(parts, spans, strict=True)], dim=-1)


class ParallelLMHead(VocabParallelEmbedding):
    """A head: its table is multiplied by, through LogitsProcessor. Arguments as vLLM's class of this name."""

    def __init__(self, num_embeddings: int, embedding_dim: int, bias: bool = False,
                 params_dtype: torch.dtype | None = None, org_num_embeddings: int | None = None,
                 padding_size: int = DEFAULT_VOCAB_PADDING_SIZE, quant_config: Any = None, prefix: str = "",
                 **unknown: Any) -> None:
        super().__init__(num_embeddings, embedding_dim, params_dtype, org_num_embeddings, padding_size, quant_config,
                         prefix, **unknown)
        if bias:
            self.bias = self.new_parameter(len(self.span))
        self.is_head = True

    def tie_weights(self, embed_tokens: VocabParallelEmbedding) -> ParallelLMHead:
        """Use an embedding's table as this head's. Returns this head."""
        self.weight = embed_tokens.weight
        return self

    def forward(self, input_ids: Tensor) -> Tensor:
        """RuntimeError: a head is not called."""
        raise RuntimeError("ParallelLMHead is not called: LogitsProcessor(vocab_size)(lm_head, hidden_states) is.")

    def flops_per_token(self, context_len: int) -> int:
        return 2 * len(self.span) * self.embedding_dim


def tie_shared_tables(model: nn.Module) -> None:
    """Find what a constructor tied: tables with one weight, and embeddings that are used as heads too.

    ConfigError for a weight that layers of another kind share.
    """
    names = Counter(module for _, module in model.named_modules(remove_duplicate=False)
                    if isinstance(module, VocabParallelEmbedding))
    tables: dict[int, VocabParallelEmbedding] = {}
    for layer in sorted(names, key=lambda layer: isinstance(layer, ParallelLMHead)):      # embeddings first
        owner = tables.setdefault(id(layer.weight), layer)
        if owner is not layer:
            layer.tie(owner)
        elif names[layer] > 1:
            layer.is_head = True
    owners: dict[int, str] = {}
    for name, module in model.named_modules():
        for own, parameter in module.own_parameters().items() if isinstance(module, PublicLayer) else ():
            first = owners.setdefault(id(parameter), f"{name}.{own}")
            if first != f"{name}.{own}":
                raise ConfigError(f"{name}.{own}", f"the parameter of {first}", expected="a parameter of its own",
                                  hint="Layers other than embeddings and heads do not share weights; use one layer in "
                                  "both places.")
