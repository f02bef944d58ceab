"""Falcon-H1: attention and Mamba 2 side by side in every layer, with fixed factors everywhere.

Factors on what goes into a product, or comes out of one, multiply its matrix while loading, as llama.cpp's converter
does.
"""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.bamba import FEED_FORWARD
from weft.architectures.mamba_parts import bamba_mixer, mamba2_rules
from weft.architectures.names import NameMap, Rule, Scaled, names
from weft.architectures.parts import LLAMA_BLOCK, LLAMA_ENDS, LLAMA_NAMES, attention, decoder, gated_mlp, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, EmbeddingSpec, Mamba2Spec, PairSpec

_LAYER, _BLOCK = "model.layers.{i}.", "blocks.{i}."


@architecture("FalconH1ForCausalLM")
def falcon_h1(c: ConfigReader) -> DecoderSpec:
    """Falcon-H1. Source: arXiv:2507.22448 and config.json of tiiuae/Falcon-H1-1.5B-Base."""
    norm, bias = rms_norm(c, eps=1e-5), c.bool("attention_bias", default=False)
    mamba = bamba_mixer(c, eps=norm.eps, width=c.positive("mamba_d_ssm", default=None))
    normed, is_first = c.bool("mamba_rms_norm", default=False), c.bool("mamba_norm_before_gate", default=True)
    mamba = replace(mamba, norm_eps=norm.eps if normed else None, norm_first=normed and is_first)
    c.expect("projectors_bias", mamba.bias)
    c.harmless("num_logits_to_keep", "layer_types", "layers_block_type", "mamba_use_mlp")
    block = BlockSpec(
        mixer=PairSpec(attention=attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias), state=mamba),
        ffn=gated_mlp(c, bias=c.bool("mlp_bias", default=False)), mixer_norm=norm, ffn_norm=norm)
    embedding = EmbeddingSpec(vocab_size=c.positive("vocab_size"), scale=c.float("embedding_multiplier", default=1.0))
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=_names(c, mamba), embedding=embedding,
                   logit_scale=c.float("lm_head_multiplier", default=1.0))


def _names(c: ConfigReader, mamba: Mamba2Spec) -> NameMap:
    entering, key = c.float("attention_in_multiplier", default=1.0), c.float("key_multiplier", default=1.0)
    gate, down = _factors(c, "mlp_multipliers", 2)
    parts, into = _factors(c, "ssm_multipliers", 5), c.float("ssm_in_multiplier", default=1.0)
    states = mamba.num_groups * mamba.state_size
    sizes = (mamba.inner_size, mamba.inner_size, states, states, mamba.num_heads)          # z, x, b, c, dt
    scaled = {
        "self_attn.q_proj": ("mixer.attention.q", Scaled(factors=(entering,), bias_factors=(1.0,))),
        "self_attn.k_proj": ("mixer.attention.k", Scaled(factors=(entering * key,), bias_factors=(key,))),
        "self_attn.v_proj": ("mixer.attention.v", Scaled(factors=(entering,), bias_factors=(1.0,))),
        "self_attn.o_proj": ("mixer.attention.o", Scaled(factors=(c.float("attention_out_multiplier", default=1.0),))),
        "mamba.in_proj": ("mixer.state.in", Scaled(factors=tuple(into * x for x in parts), sizes=sizes,
                                                   bias_factors=parts)),
        "mamba.out_proj": ("mixer.state.o", Scaled(factors=(c.float("ssm_out_multiplier", default=1.0),))),
        "feed_forward.gate_proj": ("ffn.gate", Scaled(factors=(gate,))),
        "feed_forward.down_proj": ("ffn.down", Scaled(factors=(down,))),
    }
    rules = mamba2_rules(_LAYER + "mamba.", _BLOCK + "mixer.state.") | {
        _LAYER + source: Rule(_LAYER + source, (_BLOCK + home,), layout) for source, (home, layout) in scaled.items()}
    return names(LLAMA_BLOCK | LLAMA_ENDS | FEED_FORWARD | rules, optional_prefix="model.", ignored=LLAMA_NAMES.ignored)


def _factors(c: ConfigReader, name: str, count: int) -> tuple[float, ...]:
    found = c.list(name, default=None)
    if found is None:
        return (1.0,) * count
    if len(found) != count or not all(isinstance(x, int | float) and not isinstance(x, bool) for x in found):
        raise c.error(name, found, f"{count} numbers")
    return tuple(map(float, found))
