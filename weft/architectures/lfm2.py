"""LFM2, dense and mixture of experts: gated short convolutions, and attention in some layers."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names, stacked_experts
from weft.architectures.hybrid import ATTENTION, layer_kinds, layers_in
from weft.architectures.names import ChannelKernels, Rule, names
from weft.architectures.parts import attention, decoder, experts, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, FfnSpec, MLPSpec, QKNorm, RMSNorm, ShortConvSpec

_LAYER, _BLOCK = "model.layers.{i}.", "blocks.{i}."
_MLP = {"w1": "gate", "w3": "up", "w2": "down"}
_NAMES = names({
    _LAYER + "operator_norm": _BLOCK + "mixer_norm",
    _LAYER + "ffn_norm": _BLOCK + "ffn_norm",
    **{f"{_LAYER}self_attn.{name}_proj": f"{_BLOCK}mixer.{name}" for name in ("q", "k", "v")},
    **{f"{_LAYER}self_attn.{name}_layernorm": f"{_BLOCK}mixer.{name}_norm" for name in ("q", "k")},
    _LAYER + "self_attn.out_proj": _BLOCK + "mixer.o",
    _LAYER + "conv.in_proj": (_BLOCK + "mixer.b", _BLOCK + "mixer.c", _BLOCK + "mixer.x"),
    _LAYER + "conv.conv": Rule(_LAYER + "conv.conv", (_BLOCK + "mixer.conv",), ChannelKernels()),
    _LAYER + "conv.out_proj": _BLOCK + "mixer.o",
    **{f"{_LAYER}feed_forward.{name}": f"{_BLOCK}ffn.{part}" for name, part in _MLP.items()},
    **{f"{_LAYER}feed_forward.experts.{{e}}.{name}": f"{_BLOCK}ffn.experts.{{e}}.{part}"
       for name, part in _MLP.items()},
    _LAYER + "feed_forward.gate": _BLOCK + "ffn.router",
    _LAYER + "feed_forward.expert_bias": _BLOCK + "ffn.choice.bias",
    "model.embed_tokens": "embedding.tokens",
    "model.embedding_norm": "final_norm",
    "lm_head": "head",
}, optional_prefix="model.", ignored=("model.pos_emb.inv_freq", "model.rotary_emb.inv_freq"))
_GGUF = {
    "token_embd_norm": "final_norm",
    "blk.{i}.shortconv.in_proj": (_BLOCK + "mixer.b", _BLOCK + "mixer.c", _BLOCK + "mixer.x"),
    "blk.{i}.shortconv.conv": Rule("blk.{i}.shortconv.conv", (_BLOCK + "mixer.conv",), ChannelKernels()),
    "blk.{i}.shortconv.out_proj": _BLOCK + "mixer.o",
    "blk.{i}.exp_probs_b": _BLOCK + "ffn.choice",
}


@architecture("Lfm2ForCausalLM")
def lfm2(c: ConfigReader) -> DecoderSpec:
    """LFM2. Source: arXiv:2511.23404 and config.json of LiquidAI/LFM2-1.2B."""
    size, multiple = c.positive("block_ff_dim", "intermediate_size"), c.positive("block_multiple_of", default=256)
    factor = c.positive_float("block_ffn_dim_multiplier", default=1.0)
    if c.bool("block_auto_adjust_ff_dim", default=True):
        size = -(-int(factor * int(2 * size / 3)) // multiple) * multiple
    every = range(keys.num_layers(c))
    attending = layers_in(c, "full_attn_idxs", default=every)
    default = [ATTENTION if layer in attending else "conv" for layer in every]
    mlp = MLPSpec(intermediate_size=size, act="silu", gated=True)
    return _decoder(c, [mlp] * len(every), default)


@architecture("Lfm2MoeForCausalLM")
def lfm2_moe(c: ConfigReader) -> DecoderSpec:
    """LFM2 with a mixture of experts. Source: arXiv:2511.23404 and config.json of LiquidAI/LFM2-8B-A1B."""
    dense = MLPSpec(intermediate_size=c.positive("intermediate_size"), act="silu", gated=True)
    expert = replace(dense, intermediate_size=c.positive("moe_intermediate_size"))
    moe = replace(
        experts(c, expert=expert, renormalize=c.bool("norm_topk_prob", default=True), per_token=4), scores="sigmoid",
        scale=c.positive_float("routed_scaling_factor", default=1.0),
        choice_bias=c.bool("use_expert_bias", default=True))
    layers, first = keys.num_layers(c), c.count("num_dense_layers", default=2)
    return _decoder(c, [dense if layer < first else moe for layer in range(layers)], [ATTENTION] * layers)


def _decoder(c: ConfigReader, ffns: list[FfnSpec], default: list[str]) -> DecoderSpec:
    norm = RMSNorm(eps=c.positive_float("norm_eps", default=1e-5))
    attending = attention(c, positions=rope(c, theta=1e6), qk_norm=QKNorm(norm=norm))
    conv = ShortConvSpec(inner_size=keys.hidden_size(c), conv_size=c.positive("conv_L_cache", default=3),
                         bias=c.bool("conv_bias", default=False))
    kinds = layer_kinds(c, default=default, known={ATTENTION: ATTENTION, "conv": "conv"})
    blocks = [BlockSpec(mixer=attending if kind == ATTENTION else conv, ffn=ffn, mixer_norm=norm, ffn_norm=norm)
              for kind, ffn in zip(kinds, ffns, strict=True)]
    count = c.value("num_experts")
    return decoder(c, blocks=blocks, final_norm=norm, names=_NAMES, gguf=gguf_names(_GGUF, stacked_experts(count or 0)),
                   tied=c.bool("tie_embedding", default=True))
