"""Attention as a module: one product for q, k and v, norms, rotation, the paged cache, one product out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from weft.architectures.spec import Alibi, AttentionSpec, Disentangled, QKNorm, RelativeBias, Rope
from weft.cache.masks import CAUSAL, Bidirectional, Chunked
from weft.layers.context import LayerContext
from weft.layers.head_steps import HeadSteps, has_head_steps
from weft.layers.layer import NOT_FINISHED, Home, Layer
from weft.layers.linear import Linear
from weft.layers.norm import Norm, norm_options
from weft.layers.paged_attention import PagedAttention
from weft.layers.relative import BiasTable, VectorTable, alibi_by_distance, vector_rows
from weft.layers.shard import Extent, Span, needs_sums
from weft.ops.attention import AlibiBias, AttentionParams, RelativeTerms, alibi_slopes
from weft.ops.qk import QKCase, choose_qk
from weft.ops.step import Step


class SelfAttention(Layer):
    """An AttentionSpec with its weights. spec: of the heads that are built, all or a shard's."""

    def __init__(self, spec: AttentionSpec, hidden_size: int, *, context: LayerContext) -> None:
        super().__init__()
        heads = context.divided("num_attention_heads", spec.num_heads)
        kv_heads = context.shared("num_key_value_heads", spec.num_kv_heads)
        self.spec = spec = replace(spec, num_heads=len(heads), num_kv_heads=len(kv_heads))
        self.heads, queries, keys = heads, heads.times(spec.head_dim), kv_heads.times(spec.head_dim)
        self.qkv = Linear(hidden_size, {"q": queries, "k": keys, "v": keys}, bias=spec.qkv_bias, context=context,
                          without_bias=() if spec.k_bias else ("k",))
        self.out = Linear(queries, {"o": hidden_size}, bias=spec.out_bias, context=context)
        early = None if spec.qk_norm is None or spec.qk_norm.after_rotation else spec.qk_norm
        self.q_norm = _qk_norm(early, heads, spec.head_dim, context)
        self.k_norm = _qk_norm(early, kv_heads, spec.head_dim, context)
        self.steps = HeadSteps(spec, hidden_size, heads, kv_heads, context=context) if has_head_steps(spec) else None
        self.sinks = self.parameter(len(heads), context=exact_sums(context)) if spec.sinks else None
        self.relative = _own_table(spec, heads, context)
        self.distance_k, self.distance_q = _distance_projections(spec, hidden_size, queries, context)
        self.qk_choice = choose_qk(_qk_case(spec, context))
        self.transform_qk: Callable[..., None] = NOT_FINISHED   # its pass over q and k, with the norms' weights
        self.paged = PagedAttention(
            num_heads=spec.num_heads, num_kv_heads=spec.num_kv_heads, head_dim=spec.head_dim, window=spec.window,
            mask=spec.mask if isinstance(spec.mask, Bidirectional | Chunked) else CAUSAL,
            params=AttentionParams(scale=spec.scale, softcap=spec.softcap, alibi=_alibi(spec, heads),
                                   sinks=None if self.sinks is None else self.sinks.data,
                                   relative=_terms_to_come(spec)), context=context, is_checked=False)
        self.scratch = context.scratch

    def forward(self, x: Tensor, step: Step, angles: tuple[Tensor, Tensor] | None,
                residual: Tensor | None = None, alpha: float = 1.0) -> Tensor:
        """[T, E] -> [T, E]; with a residual, residual += alpha * that, and it is returned.

        angles: cos and sin of the tokens' positions, [T, R / 2] float32, when the spec has rotary positions.
        """
        return self.out(self.attended(x, step, angles), residual, alpha)

    def attended(self, x: Tensor, step: Step, angles: tuple[Tensor, Tensor] | None) -> Tensor:
        """[T, E] -> [T, H * D], all heads' results before the product out."""
        spec = self.spec
        heads, kv_heads = spec.num_heads, spec.num_kv_heads
        qkv = self.qkv(x).view(-1, heads + 2 * kv_heads, spec.head_dim)                # [T, H + 2 Hkv, D]
        self.transform_qk(qkv, angles)
        if self.steps is not None:
            self.steps.before(qkv, step)
        q, k, v = qkv.split_with_sizes((heads, kv_heads, kv_heads), dim=1)
        out = self.scratch.take("attended", q.shape[0], heads * spec.head_dim, q.dtype)
        out = self.paged(q, k, v, step, out.view(q.shape)).reshape(-1, heads * spec.head_dim)
        return out if self.steps is None else self.steps.after(out, x)

    def finish_loading(self) -> None:
        """Give the weights of q's and k's norms to their kernel."""
        norm = self.spec.qk_norm
        if self.q_norm is not None and norm is not None and norm.scope == "all" and not self.heads.is_whole:
            self.transform_qk = self._refuse
            return
        q, k = self.q_norm, self.k_norm
        norms = () if q is None or k is None else (_weight(q), _weight(k), q.bias, k.bias)
        self.transform_qk = self.qk_choice.prepare(*(None if p is None else p.data for p in norms))

    def prepare(self, shared: BiasTable | VectorTable | None, max_model_len: int) -> None:
        """Make what attention takes of the distances between tokens, once all weights are loaded.

        shared: the table that all blocks share. max_model_len: of the longest sequence, in tokens.
        """
        positions, params = self.spec.positions, self.paged.params
        if isinstance(positions, RelativeBias):
            table = self.relative or shared
            assert isinstance(table, BiasTable), "the model or the block has the table of a RelativeBias"
            params = replace(params, bias_by_distance=table.by_distance())
        elif isinstance(positions, Disentangled):
            assert isinstance(shared, VectorTable), "the model has the table of a Disentangled"
            params = replace(params, relative=self._terms(positions, shared.vectors()))
        elif isinstance(positions, Alibi) and isinstance(self.spec.mask, Bidirectional):
            slopes = alibi_slopes(self.heads.size, positions.max_bias)[self.heads.entries]
            params = replace(params, bias_by_distance=alibi_by_distance(slopes, positions.scale, max_model_len))
        self.paged.params = params if self.sinks is None else replace(params, sinks=self.sinks.data)

    def _terms(self, positions: Disentangled, vectors: Tensor) -> RelativeTerms:
        """The table's vectors [N, E] as keys and queries of this block's heads."""
        heads, size = self.spec.num_heads, self.spec.head_dim
        if self.distance_k is None and self.distance_q is None:
            q, k, _ = self.qkv(vectors).view(-1, 3, heads, size).unbind(1)
        else:
            q, k = (vectors.new_zeros(len(vectors), heads, size) if linear is None
                    else linear(vectors).view(-1, heads, size) for linear in (self.distance_q, self.distance_k))
        keys, queries = (x.transpose(0, 1).contiguous() for x in (k, q))                      # [H, N, D]
        return RelativeTerms(keys=keys if positions.queries_to_distances else None,
                             queries=queries if positions.keys_to_distances else None, rows=vector_rows(positions))

    def _refuse(self, qkv: Tensor, angles: tuple[Tensor, Tensor] | None) -> None:
        """Instead of the norms of q and k: those over all heads."""
        raise needs_sums("qk_norm.scope=all", self.heads)

    @property
    def rope(self) -> Rope | None:
        """The rotary positions this layer wants, if any."""
        return self.spec.positions if isinstance(self.spec.positions, Rope) else None

    def token_bytes(self, native: bool) -> int:
        """As Layer."""
        return heads_bytes(self.spec, self.out.epilogue.out_dtype, native)

    def homes(self) -> dict[str, Home]:
        homes = self.own_homes() | self.qkv.homes() | self.out.homes()
        for linear in (self.distance_k, self.distance_q):
            homes |= {} if linear is None else linear.homes()
        if self.relative is not None:
            homes |= {f"relative.{name}": home for name, home in self.relative.homes().items()}
        for name in ("q_norm", "k_norm"):
            norm = getattr(self, name)
            if norm is not None:
                homes |= {f"{name}.{home}": view for home, view in norm.homes().items()}
        return homes if self.steps is None else homes | self.steps.homes()

    def own_homes(self) -> dict[str, Home]:
        """As Layer: the sinks."""
        return {} if self.sinks is None else {"sinks": Home(self.sinks.data, self, "sinks", self.heads)}


def heads_bytes(spec: AttentionSpec, dtype: torch.dtype, native: bool) -> int:
    """Bytes of a token's q, k and v. Native kernels hold two copies and attention's result."""
    heads = spec.num_heads * spec.head_dim
    qkv = heads + 2 * spec.num_kv_heads * spec.head_dim
    return (2 * qkv + heads if native else 3 * qkv) * dtype.itemsize


def exact_sums(context: LayerContext) -> LayerContext:
    """The context of vectors that are float32 whatever the model's dtype: attention's logits are."""
    return replace(context, dtype=torch.float32)


def _weight(norm: Norm) -> Tensor:
    """A norm's weight; ones where it has none, as the kernel takes no weight for no norm."""
    return norm.weight.data if norm.weight is not None else torch.ones(norm.sizes)


def _qk_norm(spec: QKNorm | None, heads: Span, head_dim: int, context: LayerContext) -> Norm | None:
    if spec is None:
        return None
    shape = {"head": (head_dim,), "each_head": (heads, head_dim), "all": (heads.times(head_dim),)}[spec.scope]
    norm = Norm(spec.norm, *shape, context=context)
    norm.runs_in = "the mixer"
    return norm


def _qk_case(spec: AttentionSpec, context: LayerContext) -> QKCase:
    rope = spec.positions if isinstance(spec.positions, Rope) else None
    early = None if spec.qk_norm is None or spec.qk_norm.after_rotation else spec.qk_norm
    return QKCase(
        device=context.device, dtype=context.dtype, num_heads=spec.num_heads, num_kv_heads=spec.num_kv_heads,
        head_dim=spec.head_dim, clip=spec.clip, isa=context.isa,
        norm=norm_options(early.norm) if early else None, scope=early.scope if early else "head",
        half=rope.rotary_dim // 2 if rope else 0, interleaved=rope.interleaved if rope else False)


def _alibi(spec: AttentionSpec, heads: Span) -> AlibiBias | None:
    if not isinstance(spec.positions, Alibi) or isinstance(spec.mask, Bidirectional):
        return None
    slopes = alibi_slopes(heads.size, spec.positions.max_bias)[heads.entries]
    return AlibiBias(slopes=slopes, scale=spec.positions.scale, is_bfloat16=spec.positions.is_bfloat16)


def _own_table(spec: AttentionSpec, heads: Span, context: LayerContext) -> BiasTable | None:
    """The table of a relative bias that no other block shares."""
    positions = spec.positions
    if not isinstance(positions, RelativeBias) or positions.is_shared:
        return None
    return BiasTable(positions, heads, context=context)


def _distance_projections(spec: AttentionSpec, hidden_size: int, queries: Extent,
                          context: LayerContext) -> tuple[Linear | None, Linear | None]:
    """The matrices that make keys and queries of a Disentangled's vectors, where q's and k's own do not."""
    positions = spec.positions
    if not isinstance(positions, Disentangled) or positions.shares_projections:
        return None, None
    wanted = (("distance_k", positions.queries_to_distances), ("distance_q", positions.keys_to_distances))
    keys, queries_ = (Linear(hidden_size, {part: queries}, bias=part == "distance_q" or positions.key_bias,
                             context=context) if there else None
                      for part, there in wanted)
    return keys, queries_


def _terms_to_come(spec: AttentionSpec) -> RelativeTerms | None:
    """Terms of the shapes that `prepare` gives them, by which the kernel is chosen and memory is planned."""
    if not isinstance(spec.positions, Disentangled):
        return None
    shape = spec.num_heads, spec.positions.num_rows, spec.head_dim
    return RelativeTerms(keys=torch.empty(shape, device="meta"), queries=torch.empty(shape, device="meta"),
                         rows=torch.zeros(1, dtype=torch.int64))
