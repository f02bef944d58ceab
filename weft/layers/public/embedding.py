"""The two ends of a foreign model: its token table, and its head, which may share that table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.layers.context import LayerContext
from weft.layers.embedding import table_bytes
from weft.layers.linear import linear_case
from weft.layers.public.layer import PublicLayer, StepRef, check_input, unsupported
from weft.layers.public.packed import PackedWeight
from weft.ops.embedding import EmbeddingCase, choose_embedding
from weft.ops.linear import Epilogue, Product, choose_linear, empty_weight
from weft.ops.quantized import QuantizedWeight

DEFAULT_VOCAB_PADDING_SIZE = 64


class VocabParallelEmbedding(PublicLayer):
    """Rows of a table by token id. Arguments as vLLM's class of this name.

    is_head: the table is multiplied by too, because a head shares it or a model uses this module as its head.
    """

    has_bias = False

    def __init__(self, num_embeddings: int, embedding_dim: int, params_dtype: torch.dtype | None = None,
                 org_num_embeddings: int | None = None, padding_size: int = DEFAULT_VOCAB_PADDING_SIZE,
                 quant_config: Any = None, prefix: str = "") -> None:
        super().__init__()
        unsupported(type(self).__name__, org_num_embeddings=None if org_num_embeddings == num_embeddings
                    else org_num_embeddings)
        self.params_dtype = params_dtype or self.params_dtype
        self.num_embeddings = self.org_vocab_size = self.num_embeddings_padded = num_embeddings
        self.embedding_dim = embedding_dim
        self.weight = self.new_parameter(num_embeddings, embedding_dim)
        self.is_head = False
        self.rows: Any = None
        self.product: Product | None = None
        self.codes: QuantizedWeight | None = None

    def bind(self, context: LayerContext, step: StepRef) -> None:
        """As PublicLayer."""
        super().bind(context, step)
        self.case = linear_case(context.weight_only(), self.embedding_dim, self.num_embeddings, is_table=True)
        self.product_choice = choose_linear(self.case)
        self.choice = choose_embedding(EmbeddingCase(device=context.device, dtype=context.dtype, isa=context.isa))
        self.takes_codes = self.product_choice.name == "native"

    def allocate(self, device: str) -> None:
        """As PublicLayer; the table has room to be packed in place."""
        super().allocate(device)
        self.weight = self.loadable(empty_weight(self.case))

    def take(self, part: str, weight: QuantizedWeight) -> None:
        """As Layer. Only the table takes codes."""
        self.codes = weight.weight_only()
        self.filled.add(part)

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer."""
        return table_bytes(self.case, codes.get("weight"))

    def finish_loading(self) -> None:
        """As Layer. A table that is only read stays as it was loaded."""
        if not self.is_head and self.codes is None and self.case.quantization is None:
            self.rows = self.choice.prepare(self.weight.data, 1.0)
            return
        bias = self._parameters.get("bias")
        self.product = self.product_choice.prepare(
            self.weight.data if self.codes is None else self.codes, None if bias is None else bias.data,
            Epilogue(out_dtype=torch.float32))
        self.rows, self.codes = self.choice.prepare(self.product, 1.0), None
        self.weight = PackedWeight.make(self.weight.shape, self.weight.dtype, self._unpacked)

    def _unpacked(self) -> Tensor:
        return self.rows(torch.arange(self.num_embeddings))

    def forward(self, input_ids: Tensor) -> Tensor:
        """[...] ids -> [..., embedding_dim]. IndexError for an id that the table does not have."""
        self.bound()
        flat = input_ids.reshape(-1).long().contiguous()
        if flat.numel() and not 0 <= int(flat.min()) <= int(flat.max()) < self.num_embeddings:
            raise IndexError(f"input_ids: expected ids from 0 to {self.num_embeddings - 1}, there are "
                             f"{int(flat.min())} to {int(flat.max())}")
        return self.rows(flat).view(*input_ids.shape, self.embedding_dim)

    def logits(self, hidden_states: Tensor) -> Tensor:
        """[N, embedding_dim] -> [N, num_embeddings] float32, with this layer's bias if it has one."""
        check_input(self, "hidden_states", hidden_states, self.embedding_dim, self.bound())
        if self.product is not None:
            return self.product(hidden_states.contiguous())
        bias = self._parameters.get("bias")
        return F.linear(hidden_states.float(), self.weight.float(), None if bias is None else bias.float())


class ParallelLMHead(VocabParallelEmbedding):
    """A head: its table is multiplied by, through LogitsProcessor. Arguments as vLLM's class of this name."""

    def __init__(self, num_embeddings: int, embedding_dim: int, bias: bool = False,
                 params_dtype: torch.dtype | None = None, org_num_embeddings: int | None = None,
                 padding_size: int = DEFAULT_VOCAB_PADDING_SIZE, quant_config: Any = None, prefix: str = "") -> None:
        super().__init__(num_embeddings, embedding_dim, params_dtype, org_num_embeddings, padding_size)
        self.bias = self.new_parameter(num_embeddings) if bias else None
        self.is_head = True
        self._table: tuple[VocabParallelEmbedding, ...] = ()

    def tie_weights(self, embed_tokens: VocabParallelEmbedding) -> ParallelLMHead:
        """Use an embedding's table as this head's. Returns this head."""
        self.weight = embed_tokens.weight
        return self

    def tie(self, table: VocabParallelEmbedding) -> None:
        """The engine found that the two share a weight: the embedding holds it for both."""
        self._table, table.is_head = (table,), True

    def allocate(self, device: str) -> None:
        """As PublicLayer; a shared table is the embedding's."""
        if not self._table:
            super().allocate(device)
            return
        if self.bias is not None:
            self.bias = self.loadable(torch.empty_like(self.bias, device=device))
        self.weight = self._table[0].weight

    def own_homes(self) -> dict:
        """As Layer; a shared table is the embedding's home."""
        homes = super().own_homes()
        return {part: home for part, home in homes.items() if part != "weight" or not self._table}

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer."""
        bias = 0 if self.bias is None else self.plain_bytes(self.bias)
        return bias + (0 if self._table else super().held_bytes(codes))

    def finish_loading(self) -> None:
        """As Layer."""
        if not self._table:
            super().finish_loading()

    def forward(self, input_ids: Tensor) -> Tensor:
        raise RuntimeError("ParallelLMHead is not called: LogitsProcessor(vocab_size)(lm_head, hidden_states) is.")

    def logits(self, hidden_states: Tensor) -> Tensor:
        """As VocabParallelEmbedding."""
        if not self._table:
            return super().logits(hidden_states)
        (table,) = self._table
        self.weight = table.weight
        out = table.logits(hidden_states)
        return out if self.bias is None else out + self.bias.float()

    def flops_per_token(self, context_len: int) -> int:
        return 2 * self.num_embeddings * self.embedding_dim


def tie_shared_tables(model: nn.Module) -> None:
    """Find what a constructor tied: heads whose weight is an embedding's, and embeddings that are used as heads too."""
    names: dict[nn.Module, int] = {}
    for _, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, VocabParallelEmbedding):
            names[module] = names.get(module, 0) + 1
    tables = {id(module.weight): module for module in names if not isinstance(module, ParallelLMHead)}
    for module, count in names.items():
        if isinstance(module, ParallelLMHead):
            if id(module.weight) in tables:
                module.tie(tables[id(module.weight)])
        elif count > 1:
            module.is_head = True
