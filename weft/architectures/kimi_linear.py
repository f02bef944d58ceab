"""Kimi Linear: delta attention with a decay for each dimension, and latent attention without positions now and then."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.hybrid import ATTENTION, STATE, layer_kinds
from weft.architectures.names import ChannelKernels, Flattened, HeadRows, NameMap, Rule
from weft.architectures.parts import decoder, gated_mlp, llama_names, rms_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import (
    BlockSpec,
    DecoderSpec,
    GatedDeltaSpec,
    MLASpec,
    MoESpec,
    ProportionalScaling,
    RMSNorm,
    Rope,
)

_ATTENTION, _MIXER, _FFN = "model.layers.{i}.self_attn.", "blocks.{i}.mixer.", "blocks.{i}.ffn."
_NAMES = {
    "f_a_proj": "a_a", "f_b_proj": "a", "b_proj": "b", "g_a_proj": "z_a", "g_b_proj": "z", "o_norm": "norm",
    "dt_bias": "dt.bias", "q_a_proj": "q_a", "q_a_layernorm": "q_a_norm", "q_b_proj": "q_b",
    "kv_a_proj_with_mqa": "kv_a", "kv_a_layernorm": "kv_a_norm"}


@architecture("KimiLinearForCausalLM")
def kimi_linear(c: ConfigReader) -> DecoderSpec:
    """Kimi Linear. Source: arXiv:2510.26692 and config.json of moonshotai/Kimi-Linear-48B-A3B-Instruct."""
    norm = rms_norm(c, eps=1e-5)
    mixers = {ATTENTION: _attention(c), STATE: _delta(c, norm)}
    dense, moe = gated_mlp(c), _experts(c)
    layers, first = keys.num_layers(c), c.count("first_k_dense_replace", default=1)
    ffns = layer_kinds(c, default=["dense" if layer < first else "sparse" for layer in range(layers)],
                       known={"dense": "dense", "sparse": "sparse"}, names=("mlp_layer_types",))
    c.harmless("pretraining_tp", "moe_layer_freq", "n_routed_experts", "head_dim", "qk_head_dim", "num_key_value_heads")
    blocks = [BlockSpec(mixer=mixers[kind], ffn=moe if ffn == "sparse" else dense, mixer_norm=norm, ffn_norm=norm)
              for kind, ffn in zip(_kinds(c), ffns, strict=True)]
    return decoder(c, blocks=blocks, final_norm=norm, names=_names(mixers[ATTENTION]),
                   max_position=c.positive("model_max_length", default=None))


def _kinds(c: ConfigReader) -> list[str]:
    """The kind of each layer, [L]. Published configs number layers from 1, in `linear_attn_config`."""
    layers = range(keys.num_layers(c))
    default = [ATTENTION if layer and layer % 4 == 0 else STATE for layer in layers]
    if c.has("linear_attn_config"):
        attending = c.sub("linear_attn_config").list("full_attn_layers", default=())
        delta = c.sub("linear_attn_config").list("kda_layers", default=())
        if sorted((*attending, *delta)) != [layer + 1 for layer in layers]:
            raise c.error("linear_attn_config.kda_layers", [*delta], f"with full_attn_layers, each of the layers 1 to "
                          f"{len(layers)} once, as num_hidden_layers says")
        default = [ATTENTION if layer + 1 in attending else STATE for layer in layers]
    return layer_kinds(c, default=default)


def _delta(c: ConfigReader, norm: RMSNorm) -> GatedDeltaSpec:
    own = c.sub("linear_attn_config") if c.has("linear_attn_config") else c
    names = ("num_heads", "head_dim", "short_conv_kernel_size")
    if own is c:
        names = ("linear_num_heads", "linear_head_dim", "linear_conv_kernel_dim")
    heads, size, conv = (own.positive(name, default=default) for name, default in zip(names, (32, 128, 4), strict=True))
    return GatedDeltaSpec(num_heads=heads, num_key_heads=heads, key_dim=size, value_dim=size, conv_size=conv,
                          norm_eps=norm.eps, act=keys.activation(c), gate_act="sigmoid", decay_rank=size,
                          gate_rank=size)


def _attention(c: ConfigReader) -> MLASpec:
    nope, unturned = c.positive("qk_nope_head_dim", default=128), c.positive("qk_rope_head_dim", default=64)
    c.expect("mla_use_nope", True)
    c.harmless("rope_theta", "rope_scaling", "rope_parameters")
    still = Rope(theta=10000.0, rotary_dim=unturned, scaling=ProportionalScaling(rotated=0))
    return MLASpec(
        num_heads=keys.num_heads(c), q_rank=c.positive("q_lora_rank", default=None),
        kv_rank=c.positive("kv_lora_rank", default=512), nope_dim=nope, value_dim=c.positive("v_head_dim", default=128),
        positions=still, scale=(nope + unturned) ** -0.5, norm=RMSNorm(eps=1e-6),
        bias=c.bool("attention_bias", default=False))


def _experts(c: ConfigReader) -> MoESpec:
    expert = gated_mlp(c, size="moe_intermediate_size")
    count = c.count("num_shared_experts", "n_shared_experts", default=1)
    total, groups = c.positive("num_experts", default=256), c.positive("num_expert_group", "n_group", default=1)
    used = c.positive("topk_group", default=1)
    if total % groups or used > groups or total // groups < 2:
        raise c.error("num_expert_group", groups, f"a divisor of num_experts = {total}, at least topk_group = {used}, "
                      "that leaves two experts in a group")
    c.expect("moe_router_activation_func", "sigmoid")
    c.harmless("use_grouped_topk")
    shared = replace(expert, intermediate_size=count * expert.intermediate_size) if count else None
    return MoESpec(
        num_experts=total, num_experts_per_token=c.positive("num_experts_per_token", "num_experts_per_tok", default=8),
        expert=expert, shared=shared, renormalize=c.bool("moe_renormalize", "norm_topk_prob", default=True),
        scores="sigmoid", choice_bias=True, scale=c.positive_float("routed_scaling_factor", default=2.446),
        num_groups=groups, groups_per_token=used, group_best=2)


def _names(mixer: MLASpec) -> NameMap:
    rules: dict[str, str | Rule] = {_ATTENTION + name: _MIXER + home for name, home in _NAMES.items()}
    rules[_ATTENTION + "A_log"] = Rule(_ATTENTION + "A_log", (_MIXER + "a_log",), Flattened())
    for part in ("q", "k", "v"):
        source = f"{_ATTENTION}{part}_conv1d"
        rules[source] = Rule(source, (f"{_MIXER}conv.{part}",), ChannelKernels())
    rules[_ATTENTION + "kv_b_proj"] = Rule(_ATTENTION + "kv_b_proj", (_MIXER + "k_b", _MIXER + "v_b"), HeadRows(
        num_heads=mixer.num_heads, sizes=(mixer.nope_dim, mixer.value_dim)))
    for moe in ("model.layers.{i}.block_sparse_moe.", "model.layers.{i}.mlp."):
        rules |= {moe + "gate": _FFN + "router", moe + "gate.e_score_correction_bias": _FFN + "choice.bias"}
        for name, part in (("w1", "gate"), ("w3", "up"), ("w2", "down")):
            rules |= {f"{moe}experts.{{e}}.{name}": f"{_FFN}experts.{{e}}.{part}", f"{moe}{part}_proj": f"{_FFN}{part}",
                      f"{moe}shared_experts.{part}_proj": f"{_FFN}shared.{part}"}
    return llama_names(rules)
