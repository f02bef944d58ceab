"""MPT and DBRX: MosaicML's decoders, with LayerNorms without biases and q, k and v in one clipped matrix."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import GGUF_FUSED_QKV, gguf_names
from weft.architectures.names import Rule, Stacked, names
from weft.architectures.parts import attention, decoder, pre_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import Alibi, DecoderSpec, LayerNorm, MLPSpec, MoESpec

_LAYER = "transformer.blocks.{i}."
_EXPERTS = _LAYER + "ffn.experts.mlp."
_QKV = ("blocks.{i}.mixer.q", "blocks.{i}.mixer.k", "blocks.{i}.mixer.v")
_ENDS = {"transformer.wte": "embedding.tokens", "transformer.norm_f": "final_norm", "lm_head": "head"}
_MPT = names(_ENDS | {
    _LAYER + "norm_1": "blocks.{i}.mixer_norm",
    _LAYER + "norm_2": "blocks.{i}.ffn_norm",
    _LAYER + "attn.Wqkv": _QKV,
    _LAYER + "attn.out_proj": "blocks.{i}.mixer.o",
    _LAYER + "ffn.up_proj": "blocks.{i}.ffn.up",
    _LAYER + "ffn.down_proj": "blocks.{i}.ffn.down",
}, optional_prefix="transformer.")


@architecture("MptForCausalLM", "MPTForCausalLM")
def mpt(c: ConfigReader) -> DecoderSpec:
    """MPT. Source: config.json of mosaicml/mpt-7b."""
    given = c.sub("attn_config")
    for name, value in (("alibi", True), ("qk_ln", False), ("prefix_lm", False), ("attn_type", "multihead_attention")):
        given.expect(name, value, default=value)
    given.harmless("attn_impl", "attn_uses_sequence_id", "attn_pdrop")
    c.expect("no_bias", True, default=True)
    c.expect("logit_scale", None, default=None)
    c.harmless("emb_pdrop", "resid_pdrop", "learned_pos_emb", "norm_type", "embedding_fraction", "init_device",
               "verbose", "init_config", "tokenizer_name", "max_seq_len")
    norm = LayerNorm(eps=c.positive_float("layer_norm_epsilon", default=1e-5), has_bias=False)
    mixer = attention(c, positions=Alibi(max_bias=given.positive_float("alibi_bias_max", default=8.0)),
                      num_kv_heads=keys.num_heads(c), scale=given.positive_float("softmax_scale", default=None),
                      clip=given.positive_float("clip_qkv", default=None))
    c.expect("expansion_ratio", 4, default=4)
    ffn = MLPSpec(intermediate_size=4 * keys.hidden_size(c), act="gelu", gated=False)
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm)] * keys.num_layers(c), final_norm=norm, names=_MPT, tied=True,
                   gguf=gguf_names(GGUF_FUSED_QKV))


@architecture("DbrxForCausalLM")
def dbrx(c: ConfigReader) -> DecoderSpec:
    """DBRX: a mixture of experts in each layer. Source: config.json of databricks/dbrx-instruct."""
    given, norm = c.sub("attn_config"), LayerNorm(eps=1e-5, has_bias=False)
    given.harmless("attn_pdrop", "rope_theta")
    c.harmless("emb_pdrop", "resid_pdrop", "num_key_value_heads", "max_seq_len")
    mixer = attention(c, positions=rope(c, theta=given.positive_float("rope_theta", default=10000.0)),
                      num_kv_heads=given.positive("kv_n_heads", default=1),
                      clip=given.positive_float("clip_qkv", default=None))
    ffn = _experts(c.sub("ffn_config"))
    homes = [f"blocks.{{i}}.ffn.experts.{e}." for e in range(ffn.num_experts)]
    stored = {source: Rule(source, tuple(f"{home}{part}.weight" for home in homes),
                           Stacked(flat=True, transposed=part == "down"))
              for part, source in (("gate", _EXPERTS + "w1"), ("up", _EXPERTS + "v1"), ("down", _EXPERTS + "w2"))}
    found = names(_ENDS | {
        _LAYER + "norm_attn_norm.norm_1": "blocks.{i}.mixer_norm",
        _LAYER + "norm_attn_norm.norm_2": "blocks.{i}.ffn_norm",
        _LAYER + "norm_attn_norm.attn.Wqkv": _QKV,
        _LAYER + "norm_attn_norm.attn.out_proj": "blocks.{i}.mixer.o",
        _LAYER + "ffn.router.layer": "blocks.{i}.ffn.router",
    } | stored, optional_prefix="transformer.")
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm)] * keys.num_layers(c), final_norm=norm, names=found)


def _experts(f: ConfigReader) -> MoESpec:
    """The experts of `ffn_config`."""
    f.harmless("moe_jitter_eps", "moe_loss_weight", "hidden_size", "moe_uniform_expert_assignment")
    act = f.sub("ffn_act_fn") if f.has("ffn_act_fn") else None
    expert = MLPSpec(intermediate_size=f.positive("ffn_hidden_size", default=3584), gated=True,
                     act="silu" if act is None else keys.activation(act, "name"))
    power = f.expect("moe_normalize_expert_weights", 1.0, None, default=1.0)
    count, picked = f.positive("moe_num_experts", default=4), f.positive("moe_top_k", default=1)
    if picked > count:
        raise f.error("moe_top_k", picked, f"at most moe_num_experts = {count}")
    return MoESpec(num_experts=count, num_experts_per_token=picked, expert=expert, renormalize=power is not None)
