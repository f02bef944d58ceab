"""What a spec costs, by arithmetic alone: shapes of all parameters, cache bytes, floating-point operations.

Knows no torch and no checkpoint. `engine/memory.py` plans with it and `weft inspect` prints it.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from weft.architectures.spec import (
    AttentionSpec,
    BlockSpec,
    DecoderSpec,
    LayerNorm,
    MixerSpec,
    MLASpec,
    MLPSpec,
    MoESpec,
    NormSpec,
    QKNorm,
)
from weft.cache.groups import CacheGroup
from weft.cache.need import TokensNeed
from weft.cache.need import cache_groups as groups_of_needs

Shapes = Iterator[tuple[str, tuple[int, ...]]]

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
# Of a cached number, and of what each row of a head has besides.
_CACHE_BYTES = {**{name: (size, 0) for name, size in DTYPE_BYTES.items()},
                "fp8_e4m3": (1, 0), "fp8_e5m2": (1, 0), "int8_per_token_head": (1, 4)}


def parameter_shapes(spec: DecoderSpec, *, has_own_head: bool | None = None) -> dict[str, tuple[int, ...]]:
    """{part name + suffix: shape} of every parameter, in the order of the forward pass.

    Names are those of `names.py` (`blocks.0.mixer.q.weight`); matrices are [out, in].
    has_own_head: whether the head has a table besides the embedding's; None: what the config says.
    """
    return dict(_decoder(spec, not spec.head.tied if has_own_head is None else has_own_head))


def block_shapes(block: BlockSpec, hidden_size: int) -> dict[str, tuple[int, ...]]:
    """{part name + suffix: shape} of one block, the names without their `blocks.{i}.`."""
    return dict(_block("", block, hidden_size))


def num_parameters(spec: DecoderSpec, *, has_own_head: bool | None = None) -> int:
    """Numbers that the model holds; a shared table counts once."""
    return sum(map(prod, parameter_shapes(spec, has_own_head=has_own_head).values()))


def num_active_parameters(spec: DecoderSpec, *, has_own_head: bool | None = None) -> int:
    """Numbers that one token's forward pass uses: all, without the experts that its router does not pick."""
    idle = 0
    for block in spec.blocks:
        if isinstance(block.ffn, MoESpec):
            one = sum(prod(shape) for _, shape in _mlp("", block.ffn.expert, spec.hidden_size))
            idle += one * (block.ffn.num_experts - block.ffn.num_experts_per_token)
    return num_parameters(spec, has_own_head=has_own_head) - idle


def cache_groups(spec: DecoderSpec, cache_dtype: str, block_size: int) -> tuple[CacheGroup, ...]:
    """Layers that see equally far share a group of cache blocks; groups in the order of their first layers.

    cache_dtype: one of KV_CACHE_DTYPES.
    """
    needs = [TokensNeed(cache_bytes_per_token(block.mixer, cache_dtype), block.mixer.window) for block in spec.blocks]
    return groups_of_needs(needs, block_size=block_size, state_interval=block_size)


def cache_bytes_per_token(mixer: MixerSpec, cache_dtype: str) -> int:
    """Bytes of one token's k and v in one layer."""
    number, row = _CACHE_BYTES[cache_dtype]
    return 2 * mixer.num_kv_heads * (mixer.head_dim * number + row)


def flops_per_token(spec: DecoderSpec, *, context_len: int = 0) -> int:
    """Floating-point operations of one token that sees `context_len` tokens: matrix products and attention only.

    A product of a matrix with a vector counts two operations for each weight.
    """
    width = spec.embedding.embedding_dim or spec.hidden_size
    total = 2 * spec.vocab_size * width
    if width != spec.hidden_size:
        total += 2 * 2 * width * spec.hidden_size
    for block in spec.blocks:
        shapes = block_shapes(block, spec.hidden_size)
        total += 2 * sum(prod(shape) for name, shape in shapes.items()
                         if len(shape) == 2 and "_norm" not in name and ".experts." not in name)
        if isinstance(block.ffn, MoESpec):
            expert = sum(prod(shape) for _, shape in _mlp("", block.ffn.expert, spec.hidden_size) if len(shape) == 2)
            total += 2 * expert * block.ffn.num_experts_per_token
        seen = min(context_len, block.mixer.window or context_len)
        total += 4 * block.mixer.num_heads * block.mixer.head_dim * seen
    return total


def _decoder(spec: DecoderSpec, has_own_head: bool) -> Shapes:
    hidden = spec.hidden_size
    width = spec.embedding.embedding_dim or hidden
    yield "embedding.tokens.weight", (spec.embedding.vocab_size, width)
    if spec.embedding.positions is not None:
        yield ("embedding.positions.weight",
               (spec.embedding.positions.num_positions + spec.embedding.positions.offset, hidden))
    if width != hidden:
        yield "embedding.project.weight", (hidden, width)
    yield from _norm("embedding.norm", spec.embedding.norm, hidden)
    for i, block in enumerate(spec.blocks):
        yield from _block(f"blocks.{i}.", block, hidden)
    yield from _norm("final_norm", spec.final_norm, hidden)
    if width != hidden:
        yield "head.project.weight", (width, hidden)
    if has_own_head:
        yield "head.weight", (spec.vocab_size, width)
    if spec.head.bias:
        yield "head.bias", (spec.vocab_size,)


def _block(prefix: str, block: BlockSpec, hidden: int) -> Shapes:
    yield from _norm(f"{prefix}mixer_norm", block.mixer_norm, hidden)
    mixer = f"{prefix}mixer"
    is_latent = isinstance(block.mixer, MLASpec)
    yield from _mla(mixer, block.mixer, hidden) if is_latent else _attention(mixer, block.mixer, hidden)
    yield from _norm(f"{prefix}mixer_post_norm", block.mixer_post_norm, hidden)
    yield from _norm(f"{prefix}ffn_norm", block.ffn_norm, hidden)
    ffn = f"{prefix}ffn"
    yield from _moe(ffn, block.ffn, hidden) if isinstance(block.ffn, MoESpec) else _mlp(ffn, block.ffn, hidden)
    yield from _norm(f"{prefix}ffn_post_norm", block.ffn_post_norm, hidden)


def _attention(prefix: str, mixer: AttentionSpec, hidden: int) -> Shapes:
    rows, kv_rows = mixer.num_heads * mixer.head_dim, mixer.num_kv_heads * mixer.head_dim
    yield from _linear(f"{prefix}.q", rows, hidden, mixer.qkv_bias)
    yield from _linear(f"{prefix}.k", kv_rows, hidden, mixer.qkv_bias)
    yield from _linear(f"{prefix}.v", kv_rows, hidden, mixer.qkv_bias)
    if mixer.qk_norm is not None:
        yield from _qk_norm(f"{prefix}.q_norm", mixer.qk_norm, mixer.num_heads, mixer.head_dim)
        yield from _qk_norm(f"{prefix}.k_norm", mixer.qk_norm, mixer.num_kv_heads, mixer.head_dim)
    yield from _linear(f"{prefix}.o", hidden, rows, mixer.out_bias)


def _mla(prefix: str, mla: MLASpec, hidden: int) -> Shapes:
    heads = mla.num_heads
    if mla.q_rank is None:
        yield from _linear(f"{prefix}.q", heads * mla.key_dim, hidden, False)
    else:
        yield from _linear(f"{prefix}.q_a", mla.q_rank, hidden, mla.bias)
        yield from _norm(f"{prefix}.q_a_norm", mla.norm, mla.q_rank)
        yield from _linear(f"{prefix}.q_b", heads * mla.key_dim, mla.q_rank, False)
    yield from _linear(f"{prefix}.kv_a", mla.kv_rank + mla.positions.rotary_dim, hidden, mla.bias)
    yield from _norm(f"{prefix}.kv_a_norm", mla.norm, mla.kv_rank)
    yield from _linear(f"{prefix}.k_b", heads * mla.nope_dim, mla.kv_rank, False)
    yield from _linear(f"{prefix}.v_b", heads * mla.value_dim, mla.kv_rank, False)
    yield from _linear(f"{prefix}.o", hidden, heads * mla.value_dim, mla.bias)


def _qk_norm(name: str, qk_norm: QKNorm, heads: int, head_dim: int) -> Shapes:
    shape = {"head": (head_dim,), "each_head": (heads, head_dim), "all": (heads * head_dim,)}[qk_norm.scope]
    yield from _norm(name, qk_norm.norm, *shape)


def _mlp(prefix: str, mlp: MLPSpec, hidden: int) -> Shapes:
    for name in ("gate", "up") if mlp.gated else ("up",):
        yield from _linear(f"{prefix}.{name}", mlp.intermediate_size, hidden, mlp.bias)
    yield from _linear(f"{prefix}.down", hidden, mlp.intermediate_size, mlp.bias)


def _moe(prefix: str, moe: MoESpec, hidden: int) -> Shapes:
    yield from _linear(f"{prefix}.router", moe.num_experts, hidden, False)
    if moe.choice_bias:
        yield f"{prefix}.choice.bias", (moe.num_experts,)
    for e in range(moe.num_experts):
        yield from _mlp(f"{prefix}.experts.{e}", moe.expert, hidden)
    if moe.shared is not None:
        yield from _mlp(f"{prefix}.shared", moe.shared, hidden)
    if moe.shared_gate:
        yield from _linear(f"{prefix}.shared_gate", 1, hidden, False)


def _linear(name: str, rows: int, columns: int, bias: bool) -> Shapes:
    yield f"{name}.weight", (rows, columns)
    if bias:
        yield f"{name}.bias", (rows,)


def _norm(name: str, norm: NormSpec | None, *shape: int) -> Shapes:
    if norm is None:
        return
    if not isinstance(norm, LayerNorm) or norm.has_weight:
        yield f"{name}.weight", shape
    if isinstance(norm, LayerNorm) and norm.has_bias:
        yield f"{name}.bias", shape
