"""Falcon: one KV head (multi-query), or KV heads in groups with separate norms for attention and MLP; rope or ALiBi."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import GGUF_FUSED_QKV, gguf_names
from weft.architectures.names import GroupedQKV, NameMap, Rule, names
from weft.architectures.parts import attention, decoder, layer_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Alibi, BlockSpec, DecoderSpec, LayerNorm, MLPSpec

# With two norms for parallel attention and MLP, attn_norm is the MLP's and attn_norm_2 the attention's.
_GGUF_NORMS = {"blk.{i}.attn_norm": "blocks.{i}.ffn_norm", "blk.{i}.attn_norm_2": "blocks.{i}.mixer_norm"}


@architecture("FalconForCausalLM", "RWForCausalLM")
def falcon(c: ConfigReader) -> DecoderSpec:
    """Falcon. Source: arXiv:2311.16867; config.json of tiiuae/falcon-rw-1b, falcon-7b, falcon-40b and falcon-11B."""
    norm, hidden, size = layer_norm(c), keys.hidden_size(c), keys.head_dim(c)
    bias = c.bool("bias", default=False)
    kv_heads = _kv_heads(c)
    if c.bool("alibi", default=False):
        positions = Alibi(scale=size ** -0.5, is_bfloat16=True)
        c.harmless("rope_parameters", "rope_scaling", "rope_theta")
    else:
        positions = rope(c)
    parallel, ffn_norm = _norms(c, norm)
    has_two_norms = parallel and ffn_norm is not None
    block = BlockSpec(
        mixer=attention(c, positions=positions, num_kv_heads=kv_heads, qkv_bias=bias, out_bias=bias),
        ffn=MLPSpec(intermediate_size=c.positive("ffn_hidden_size", default=4 * hidden), gated=False, bias=bias,
                    act=keys.activation(c, "activation", default="gelu")),
        mixer_norm=norm,
        ffn_norm=ffn_norm,
        parallel=parallel,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, tied=True,
                   names=_names(c, kv_heads, has_two_norms=has_two_norms),
                   gguf=gguf_names(GGUF_FUSED_QKV, _GGUF_NORMS if has_two_norms else {}))


def _is_new(c: ConfigReader) -> bool:
    return c.bool("new_decoder_architecture", default=False)


def _kv_heads(c: ConfigReader) -> int:
    heads = keys.num_heads(c)
    given = c.positive("num_kv_heads", "n_head_kv", default=heads)
    if c.bool("multi_query", default=True) and not _is_new(c):
        return 1
    if heads % given:
        raise c.error("num_kv_heads", given, f"a divisor of num_attention_heads = {heads}")
    return given if _is_new(c) else heads


def _norms(c: ConfigReader, norm: LayerNorm) -> tuple[bool, LayerNorm | None]:
    """(whether attention and MLP are parallel, the MLP's norm or None if it shares the attention's)."""
    count = c.positive("num_ln_in_parallel_attn", default=2 if _is_new(c) else 1)
    parallel = c.bool("parallel_attn", default=True)
    if _is_new(c):
        if not parallel:
            raise c.error("parallel_attn", parallel, "true, because new_decoder_architecture is true")
        return True, norm if count == 2 else None
    if parallel and count != 1:
        raise c.error("num_ln_in_parallel_attn", count, "1, because new_decoder_architecture is false")
    return parallel, None if parallel else norm


def _names(c: ConfigReader, kv_heads: int, *, has_two_norms: bool) -> NameMap:
    layer, targets = "transformer.h.{i}.", ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")
    qkv = layer + "self_attention.query_key_value"
    layout = GroupedQKV(num_groups=kv_heads, queries_per_group=keys.num_heads(c) // kv_heads, head_dim=keys.head_dim(c))
    return names({
        layer + ("ln_attn" if has_two_norms else "input_layernorm"): "blocks.{i}.mixer_norm",
        layer + ("ln_mlp" if has_two_norms else "post_attention_layernorm"): "blocks.{i}.ffn_norm",
        qkv: Rule(qkv, targets, layout),
        layer + "self_attention.dense": "blocks.{i}.mixer.o",
        layer + "mlp.dense_h_to_4h": "blocks.{i}.ffn.up",
        layer + "mlp.dense_4h_to_h": "blocks.{i}.ffn.down",
        "transformer.word_embeddings": "embedding.tokens",
        "transformer.ln_f": "final_norm",
        "lm_head": "head",
    }, optional_prefix="transformer.", ignored=("transformer.rotary_emb.inv_freq",
                                                layer + "self_attention.maybe_rotary.inv_freq"))
