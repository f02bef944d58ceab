"""What a step holds besides weights and cache, by what the chosen kernels allocate. `memory.py` plans with it.

Native kernels: buffers by role, which stay (`layers/scratch.py`), inputs widened to float32 where a level multiplies no
bfloat16, and the states of split sequences; no scores. Torch's kernels: a block's tensors, scores of a piece, and the
keys and values that decodes gather.
"""

from __future__ import annotations

import torch

from weft.architectures.sizes import DTYPE_BYTES
from weft.architectures.spec import BlockSpec, DecoderSpec, MLPSpec, MoESpec
from weft.config.engine_config import EngineConfig
from weft.ops.attention import KV_DTYPES, AttentionCase, choose_attention
from weft.ops.attention.cpu import SPLIT_QUERIES, THREAD_BYTES, state_bytes
from weft.ops.attention.pieces import MIN_TILE, TILE_SCORES
from weft.ops.native import unavailable

_BFLOAT16_PRODUCTS = ("avx512_bf16", "amx")                   # levels that multiply bfloat16 as it is


def activation_bytes(spec: DecoderSpec, config: EngineConfig) -> int:
    """The largest working set of a step that does not depend on how full the cache is."""
    tokens, length = config.scheduler.max_num_batched_tokens, config.model.max_model_len
    rows = min(config.scheduler.max_num_seqs, tokens)
    if unavailable("cpu", config.cpu_isa) is None:
        layers = tokens * max(_native_token(block, spec, config) for block in spec.blocks)
        logits = (2 * rows + 5 * config.num_threads) * spec.vocab_size * 4        # one copy for log-probabilities
    else:
        layers = tokens * max(_torch_token(block, spec, config) for block in spec.blocks)
        logits = 3 * rows * spec.vocab_size * 4
    return layers + logits + max(_attention(block, config, tokens, length) for block in spec.blocks)


def cache_overhead(spec: DecoderSpec, config: EngineConfig, bytes_per_token: int) -> float:
    """Bytes that a step needs for each byte of the cache that it reads. bytes_per_token: of the cache, all layers."""
    native = [_is_native(block, config) for block in spec.blocks]
    if not all(native):
        return 2 / len(spec.blocks)                           # a layer's keys and values are gathered
    states = max(state_bytes(block.mixer.num_heads, block.mixer.head_dim, 1) for block in spec.blocks)
    return states / bytes_per_token


def _is_native(block: BlockSpec, config: EngineConfig) -> bool:
    case = AttentionCase(device="cpu", dtype=getattr(torch, config.model.dtype), head_dim=block.mixer.head_dim,
                         softcap=False, alibi=False, isa=config.cpu_isa, block_size=config.cache.block_size,
                         cache_dtype=KV_DTYPES.get(config.cache.dtype))
    return choose_attention(case).name == "native"


def _attention(block: BlockSpec, config: EngineConfig, tokens: int, length: int) -> int:
    """Of one layer: states of a chunk's last rows beside a whole context and threads' own buffers; or scores."""
    mixer, width = block.mixer, DTYPE_BYTES[config.model.dtype]
    if _is_native(block, config):
        rows = min(SPLIT_QUERIES, tokens)
        return int(rows * state_bytes(mixer.num_heads, mixer.head_dim, length)) + config.num_threads * THREAD_BYTES
    tile = max(TILE_SCORES, MIN_TILE * length)                                    # queries * keys of one call
    return 2 * min(tile, tokens * length) * mixer.num_heads * (4 + width)


def _native_token(block: BlockSpec, spec: DecoderSpec, config: EngineConfig) -> int:
    """Bytes for a token: the residual stream, norms' results, the buffers of all roles, a product's widened input."""
    width, mixer = DTYPE_BYTES[config.model.dtype], block.mixer
    heads = mixer.num_heads * mixer.head_dim
    qkv = (mixer.num_heads + 2 * mixer.num_kv_heads) * mixer.head_dim
    inner, experts = _inner(block), 0
    if isinstance(block.ffn, MoESpec):                        # results of a token's experts, in float32
        top = block.ffn.num_experts_per_token
        experts = top * (block.ffn.expert.intermediate_size * width + 4 * spec.hidden_size)
    is_widened = width < 4 and not (config.model.dtype == "bfloat16" and config.cpu_isa in _BFLOAT16_PRODUCTS)
    widened = 4 * max(inner, heads, spec.hidden_size) if is_widened else 0
    return (4 * spec.hidden_size + 2 * qkv + heads + inner) * width + experts + widened


def _inner(block: BlockSpec) -> int:
    """Columns between the products of the dense part of a feed-forward part."""
    ffn = block.ffn.shared if isinstance(block.ffn, MoESpec) else block.ffn
    return 0 if ffn is None else ffn.intermediate_size


def _torch_token(block: BlockSpec, spec: DecoderSpec, config: EngineConfig) -> int:
    """Bytes for a token: the widest tensors of a block and the residual stream."""
    mixer, width = block.mixer, DTYPE_BYTES[config.model.dtype]
    widest = 3 * (mixer.num_heads + 2 * mixer.num_kv_heads) * mixer.head_dim
    match block.ffn:
        case MLPSpec(intermediate_size=size, gated=gated):
            widest = max(widest, (4 if gated else 2) * size)
        case MoESpec(expert=expert, num_experts_per_token=top):
            widest = max(widest, 4 * (expert.intermediate_size * top + _inner(block)))
    return (4 * spec.hidden_size + widest) * width
