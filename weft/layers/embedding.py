"""The two ends of a model: token ids to hidden states, hidden states to logits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weft.architectures.spec import EmbeddingSpec, HeadSpec, Sinusoids
from weft.errors import DescriptionError
from weft.layers.context import LayerContext
from weft.layers.layer import NOT_FINISHED, Home, Layer
from weft.layers.linear import Linear, linear_case, shape_only
from weft.layers.norm import optional_norm
from weft.layers.shard import needs_sums
from weft.layers.sinusoids import sinusoids
from weft.ops.embedding import EmbeddingCase, choose_embedding
from weft.ops.linear import Epilogue, LinearCase, Product, choose_linear, empty_weight, product_bytes
from weft.ops.quantized import QuantizedWeight
from weft.ops.step import RowEmbeds


class Embedding(Layer):
    """An EmbeddingSpec with its tables. is_tied: the head multiplies by the same table and prepares it for both layers.

    vocabulary: the rows of the table that are built. A shard gives zeros for the other token ids; what is added once is
    added by the first.
    """

    def __init__(self, spec: EmbeddingSpec, hidden_size: int, *, is_tied: bool, context: LayerContext) -> None:
        super().__init__()
        self.spec, self.is_tied = spec, is_tied
        width = spec.embedding_dim or hidden_size
        self.vocabulary = context.vocabulary(spec.vocab_size)
        self.case = linear_case(context.weight_only(), width, len(self.vocabulary), is_table=True)
        self.tokens = self.parameter(len(self.vocabulary), width, context=context)
        self.choice = choose_embedding(EmbeddingCase(device=context.device, dtype=context.dtype, isa=context.isa))
        self.rows: Callable[[Tensor], Tensor] = NOT_FINISHED  # the kernel's lookup, made of the loaded table
        self.takes_codes = choose_linear(self.case).name == "native"
        self.codes: QuantizedWeight | None = None
        self.project = _projection(width, hidden_size, context, spec.projects_last)
        added = width if spec.projects_last else hidden_size
        rows = spec.positions.num_positions + spec.positions.offset if spec.positions else 0
        self.positions = self.parameter(rows, added, context=context) if rows else None
        self.token_types = self.parameter(spec.token_types, added, context=context) if spec.token_types else None
        self.norm = optional_norm(spec.norm, added, context=context)

    def forward(self, input_ids: Tensor, positions: Tensor, given: RowEmbeds | None = None,
                token_types: Tensor | None = None) -> Tensor:
        """input_ids, positions [T] -> newly allocated [T, E]. given: rows that are not looked up.

        token_types: [T]; None: all are of type 0.
        """
        hidden = self.rows(input_ids) if self.vocabulary.is_whole else self._own_rows(input_ids)
        if given is not None:
            values = given.values * self.spec.scale if self.spec.scales_given_rows else given.values
            values = values if self.vocabulary.is_first else torch.zeros_like(values)
            hidden.index_copy_(0, given.rows, values.to(hidden.dtype))
        if self.project is not None and not self.spec.projects_last:
            hidden = self.project(hidden).clone()
        if self.token_types is not None and self.vocabulary.is_first:
            rows = self.token_types[0] if token_types is None else F.embedding(token_types, self.token_types)
            hidden = hidden + rows
        if self.norm is not None and self.spec.norm_before_positions:
            hidden = self.norm(hidden)
        if self.positions is not None and self.spec.positions is not None and self.vocabulary.is_first:
            hidden = hidden + self._position_rows(self.positions, input_ids, positions)
        hidden = hidden if self.norm is None or self.spec.norm_before_positions else self.norm(hidden)
        return self.project(hidden).clone() if self.project is not None and self.spec.projects_last else hidden

    def _position_rows(self, table: Tensor, input_ids: Tensor, positions: Tensor) -> Tensor:
        """[T, E], newly allocated."""
        spec = self.spec.positions
        assert spec is not None, "a spec with a table of positions says which"
        rows = F.embedding(positions + spec.offset, table)
        if isinstance(spec, Sinusoids) and spec.padding_id is not None:
            rows.masked_fill_((input_ids == spec.padding_id).unsqueeze(1), 0)
        return rows

    def _own_rows(self, input_ids: Tensor) -> Tensor:
        """Rows of this shard's token ids, zeros for others."""
        if self.norm is not None:
            raise needs_sums("embedding.norm", self.vocabulary)
        ids = input_ids - self.vocabulary.start
        is_own = (ids >= 0) & (ids < len(self.vocabulary))
        return self.rows(ids.where(is_own, 0)).masked_fill_(~is_own.unsqueeze(-1), 0)

    def finish_loading(self) -> None:
        """Prepare the lookup, unless the tied head does so. Floats are not packed: an embedding only reads rows."""
        if self.is_tied:
            return
        table = self.tokens.data
        if self.case.quantization is not None or self.codes is not None:
            weight = table if self.codes is None else self.codes
            table = choose_linear(self.case).prepare(weight, None, Epilogue(out_dtype=self.case.dtype))
        self.read_rows_of(table)
        self.codes = None

    def read_rows_of(self, table: Tensor | Product) -> None:
        """Look rows up in a table [V, E], or in the packed table of a product."""
        self.rows = self.choice.prepare(table, self.spec.scale)
        self.tokens = shape_only(self.tokens)

    def take(self, part: str, weight: QuantizedWeight) -> None:
        """As Layer. The tables of positions and of token types become floats: they are added as they are."""
        if part == "tokens.weight":
            self.codes = weight.weight_only()
        else:
            self.homes()[part].view.copy_(weight.dequantize())

    def allocate(self, device: str) -> None:
        """As Layer; the table has room for a kernel to pack it in place, and sinusoidal positions are computed."""
        self._allocate_own(device)
        self.tokens = nn.Parameter(empty_weight(self.case), requires_grad=False)

    def _allocate_own(self, device: str) -> None:
        """As Layer.allocate, and compute the numbers of sinusoidal positions."""
        super().allocate(device)
        if self.positions is not None and isinstance(self.spec.positions, Sinusoids):
            self.positions.data.copy_(sinusoids(self.spec.positions, self.positions.shape[1]))

    def homes(self) -> dict[str, Home]:
        return {"tokens.weight": Home(self.tokens.data, self, "tokens.weight", self.vocabulary)} | self.added_homes()

    def added_homes(self) -> dict[str, Home]:
        """Homes of all but the table of tokens."""
        homes = {}
        if self.positions is not None:
            is_computed = isinstance(self.spec.positions, Sinusoids)
            homes["positions.weight"] = Home(self.positions.data, self, "positions.weight", is_optional=is_computed)
        if self.token_types is not None:
            homes["token_types.weight"] = Home(self.token_types.data, self, "token_types.weight")
        if self.project is not None:
            homes |= self.project.homes()
        if self.norm is not None:
            homes |= {f"norm.{name}": home for name, home in self.norm.homes().items()}
        return homes

    def token_bytes(self, native: bool) -> int:
        """As Layer: the result is the blocks' stream, which they count."""
        return 0

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer; a tied table is the head's."""
        added = sum(self.plain_bytes(table) for table in (self.positions, self.token_types) if table is not None)
        return added + (0 if self.is_tied else table_bytes(self.case, codes.get("tokens.weight")))


class SharedEmbedding(Embedding):
    """An embedding without a table of tokens: it looks them up in the table of `owner`, scaled as there."""

    def __init__(self, spec: EmbeddingSpec, hidden_size: int, *, owner: Embedding, context: LayerContext) -> None:
        super().__init__(spec, hidden_size, is_tied=True, context=context)
        if (spec.vocab_size, spec.scale, spec.embedding_dim) != (
                owner.spec.vocab_size, owner.spec.scale, owner.spec.embedding_dim):
            raise DescriptionError("shares_embedding", True, expected="False for embeddings whose vocab_size, scale or "
                                   "embedding_dim differ")
        del self.tokens
        self._owner = (owner,)                                # in a tuple: it is not this module's child

    def forward(self, input_ids: Tensor, positions: Tensor, given: RowEmbeds | None = None,
                token_types: Tensor | None = None) -> Tensor:
        """As Embedding."""
        (owner,) = self._owner
        self.rows = owner.rows
        return super().forward(input_ids, positions, given, token_types)

    def allocate(self, device: str) -> None:
        """As Layer: of what is added to the rows."""
        self._allocate_own(device)

    def homes(self) -> dict[str, Home]:
        """As Layer."""
        return self.added_homes()


class Head(Layer):
    """A HeadSpec. Its matrix is the table of a tied embedding, or a separate table with the same rows."""

    def __init__(self, spec: HeadSpec, embedding: Embedding, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        vocab_size, width = embedding.tokens.shape
        self.spec, self.is_tied = spec, embedding.is_tied
        self._embedding = (embedding,)                        # in a tuple: it is not this module's child
        dense = spec.transform
        self.project = None if dense is not None else _projection(hidden_size, width, context)
        self.transform = None if dense is None else Linear(hidden_size, {"transform": width}, bias=dense.bias,
                                                           context=context, act=dense.act)
        self.transform_norm = None if dense is None else optional_norm(dense.norm, width, context=context)
        self.case = linear_case(context.weight_only(), width, vocab_size, is_table=self.is_tied)
        self.choice = choose_linear(self.case)
        self.weight = None if self.is_tied else self.parameter(vocab_size, width, context=context)
        self.bias = self.parameter(vocab_size, context=context) if spec.bias else None
        self.product: Product = NOT_FINISHED
        self.takes_codes = self.choice.name == "native"
        self.codes: QuantizedWeight | None = None

    def forward(self, hidden_states: Tensor) -> Tensor:
        """[N, E] -> newly allocated logits [N, V] float32; a shard gives the logits of its rows."""
        if self.project is not None:
            hidden_states = self.project(hidden_states)
        if self.transform is not None and self.transform_norm is not None:
            hidden_states = self.transform_norm(self.transform(hidden_states))
        logits = self.product(hidden_states)
        if self.spec.scale != 1:
            logits = logits.mul_(self.spec.scale)
        if self.spec.softcap is not None:
            logits = logits.div_(self.spec.softcap).tanh_().mul_(self.spec.softcap)
        return logits

    def finish_loading(self) -> None:
        """Give the matrix to the kernel. A tied embedding then looks its rows up in the packed matrix."""
        (embedding,) = self._embedding
        weight = embedding.tokens if self.weight is None else self.weight
        bias = None if self.bias is None else self.bias.data
        self.product = self.choice.prepare(weight.data if self.codes is None else self.codes, bias,
                                           Epilogue(out_dtype=torch.float32))
        self.codes = None
        if self.is_tied:
            embedding.read_rows_of(self.product)
        else:
            self.weight = shape_only(weight)

    def take(self, part: str, weight: QuantizedWeight) -> None:
        """As Layer. The part is this layer's matrix, or the table of a tied embedding."""
        self.codes = weight.weight_only()

    def allocate(self, device: str) -> None:
        """As Layer; the matrix has room for its kernel to pack it in place."""
        super().allocate(device)
        if self.weight is not None:
            self.weight = nn.Parameter(empty_weight(self.case), requires_grad=False)

    def homes(self) -> dict[str, Home]:
        (embedding,) = self._embedding
        rows = embedding.vocabulary
        table = {"weight": Home(embedding.tokens.data, self, "tokens.weight", rows)} if self.is_tied else {}
        own = {name: replace(home, rows=rows) for name, home in self.own_homes().items()}
        before = {} if self.project is None else self.project.homes()
        if self.transform is not None and self.transform_norm is not None:
            before |= self.transform.homes()
            before |= {f"transform_norm.{name}": home for name, home in self.transform_norm.homes().items()}
        return table | own | before

    def held_bytes(self, codes: Mapping[str, QuantizedWeight]) -> int:
        """As Layer, with the table of a tied embedding."""
        bias = 0 if self.bias is None else self.plain_bytes(self.bias)
        return bias + table_bytes(self.case, codes.get("tokens.weight" if self.is_tied else "weight"))

    def flops_per_token(self, context_len: int) -> int:
        return 2 * self.case.in_features * self.case.out_features


def table_bytes(case: LinearCase, row: QuantizedWeight | None) -> int:
    """Bytes of the matrix of an embedding or a head. row: one row of its codes; None where the matrix is floats."""
    return product_bytes(case, None if row is None else row.weight_only())


def _projection(from_width: int, to_width: int, context: LayerContext, is_last: bool = False) -> Linear | None:
    """The linear layer between the table's width and the hidden size, or None where both are equal.

    is_last: it has a bias, and is there for equal widths too.
    """
    if from_width == to_width and not is_last:
        return None
    return Linear(from_width, {"project": to_width}, bias=is_last, context=context)
