"""OLMo hybrid: OLMo 3 with the gated delta rule in three of four layers."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.hybrid import ATTENTION, STATE, layer_kinds
from weft.architectures.names import ChannelKernels, NameMap, Rule
from weft.architectures.parts import attention, decoder, gated_mlp, llama_names, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.rope_parameters import read_rope
from weft.architectures.spec import BlockSpec, DecoderSpec, GatedDeltaSpec, QKNorm, RMSNorm

_MIXER = "blocks.{i}.mixer."
_DELTA = {"q_proj": "q", "k_proj": "k", "v_proj": "v", "a_proj": "a", "b_proj": "b", "g_proj": "z", "o_norm": "norm",
          "o_proj": "o", "A_log": "a_log", "dt_bias": "dt.bias"}


@architecture("OlmoHybridForCausalLM")
def olmo_hybrid(c: ConfigReader) -> DecoderSpec:
    """OLMo hybrid. Source: `olmo_hybrid` of Transformers and config.json of allenai/OLMo-3.1-7B-Hybrid."""
    norm, ffn, bias = rms_norm(c), gated_mlp(c), c.bool("attention_bias", default=False)
    layers = keys.num_layers(c)
    default = [ATTENTION if layer % 4 == 3 else STATE for layer in range(layers)]
    default[-1] = default[-1] if ATTENTION in default else ATTENTION
    kinds = layer_kinds(c, default=default)
    c.harmless("linear_a_log_min", "linear_a_log_max", "linear_dt_min", "linear_dt_max", "linear_dt_init_floor")
    found = read_rope(c)
    positions = rope(c) if c.has("rope_theta") or (found is not None and found.rope_theta is not None) else None
    attending = attention(c, positions=positions, qkv_bias=bias, out_bias=bias, qk_norm=QKNorm(norm=norm, scope="all"))
    blocks = {
        ATTENTION: BlockSpec(mixer=attending, ffn=ffn, mixer_norm=None, ffn_norm=None, mixer_post_norm=norm,
                             ffn_post_norm=norm),
        STATE: BlockSpec(mixer=_delta(c, norm), ffn=ffn, mixer_norm=norm, ffn_norm=norm)}
    return decoder(c, blocks=[blocks[kind] for kind in kinds], final_norm=norm, names=_names(kinds))


def _delta(c: ConfigReader, norm: RMSNorm) -> GatedDeltaSpec:
    heads, key_heads = (c.positive(f"linear_num_{kind}_heads", default=keys.num_heads(c)) for kind in ("value", "key"))
    if heads % key_heads:
        raise c.error("linear_num_key_heads", key_heads, f"a divisor of linear_num_value_heads = {heads}")
    size = c.positive("linear_key_head_dim", default=max(1, int(0.75 * keys.hidden_size(c) / key_heads)))
    return GatedDeltaSpec(
        num_heads=heads, num_key_heads=key_heads, key_dim=size,
        value_dim=c.positive("linear_value_head_dim", default=2 * size), act=keys.activation(c),
        conv_size=c.positive("linear_conv_kernel_dim", default=4),
        norm_eps=1e-5,                                                    # fixed in the model's code
        beta_scale=2.0 if c.bool("linear_allow_neg_eigval", default=True) else 1.0)


def _names(kinds: list[str]) -> NameMap:
    """Layers of the two kinds have their norms in other places, under names that overlap. Transformers writes the first
    norm of attention's layers as feedforward_layer_norm, too.
    """
    source = "model.layers.{i}.linear_attn."
    rules: dict[str, str | Rule] = {source + name: _MIXER + home for name, home in _DELTA.items()}
    for part in ("q", "k", "v"):
        rules[f"{source}{part}_conv1d"] = Rule(f"{source}{part}_conv1d", (f"{_MIXER}conv.{part}",), ChannelKernels())
    for i, kind in enumerate(kinds):
        places = {"attention_layer_norm": "mixer_norm", "feedforward_layer_norm": "ffn_norm",
                  "input_layernorm": "mixer_norm", "post_attention_layernorm": "ffn_norm"} if kind == STATE else {
                      "post_attention_layernorm": "mixer_post_norm", "feedforward_layer_norm": "mixer_post_norm",
                      "post_feedforward_layernorm": "ffn_post_norm"}
        rules |= {f"model.layers.{i}.{name}": f"blocks.{i}.{place}" for name, place in places.items()}
    return llama_names(rules)
