"""Nemotron-H: layers of one part each: Mamba 2, attention without positions, or a feed-forward part."""

from __future__ import annotations

import math
from dataclasses import replace

from weft.architectures.hybrid import ATTENTION, KINDS, STATE, layer_kinds
from weft.architectures.keys import activation
from weft.architectures.mamba_parts import mamba2_rules, with_groups
from weft.architectures.names import NameMap, names
from weft.architectures.parts import attention, decoder
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import AttentionSpec, BlockSpec, DecoderSpec, Mamba2Spec, MLPSpec, RMSNorm
from weft.errors import NotBuiltError

_LAYER, _BLOCK = "backbone.layers.{i}.", "blocks.{i}."
_PATTERN = {"M": STATE, "*": ATTENTION, "-": "mlp", "E": "moe"}


@architecture("NemotronHForCausalLM")
def nemotron_h(c: ConfigReader) -> DecoderSpec:
    """Nemotron-H without experts. Source: arXiv:2504.03624 and config.json of nvidia/Nemotron-H-8B-Base-8K."""
    norm = RMSNorm(eps=c.positive_float("layer_norm_epsilon", default=1e-5), cast_before_weight=False)
    mixers = {ATTENTION: _attention(c), STATE: _mamba(c, norm.eps)}
    mlp = MLPSpec(intermediate_size=c.positive("intermediate_size"), gated=False,
                  bias=c.bool("mlp_bias", default=False), act=activation(c, "mlp_hidden_act", default="relu2"))
    kinds = _kinds(c)
    blocks = [BlockSpec(mixer=None, ffn=mlp, mixer_norm=None, ffn_norm=norm) if kind == "mlp" else
              BlockSpec(mixer=mixers[kind], ffn=None, mixer_norm=norm, ffn_norm=None) for kind in kinds]
    c.harmless("num_logits_to_keep", "rescale_prenorm_residual", "residual_in_fp32", "hidden_dropout",
               "use_mamba_kernels", "mamba_ssm_cache_dtype", "mtp_layers_block_type", "mtp_hybrid_override_pattern",
               "num_nextn_predict_layers", "sliding_window", "attention_bias", "rms_norm_eps", "norm_eps")
    c.harmless("n_routed_experts", "n_shared_experts", "moe_intermediate_size", "moe_shared_expert_intermediate_size",
               "moe_shared_expert_overlap", "moe_latent_size", "n_group", "topk_group", "norm_topk_prob",
               "num_experts_per_tok", "routed_scaling_factor")                            # of layers of kind moe
    return decoder(c, blocks=blocks, final_norm=norm, names=_names(kinds))


def _kinds(c: ConfigReader) -> list[str]:
    """The kind of each layer, [L]. `hybrid_override_pattern` has a letter for each."""
    pattern = c.str("hybrid_override_pattern", default=None)
    known = KINDS | {"mlp": "mlp", "moe": "moe"}
    kinds = layer_kinds(c, known=known, default=[_PATTERN.get(letter, letter) for letter in pattern or "ME*-"])
    for index, kind in enumerate(kinds):
        if kind not in (ATTENTION, STATE, "mlp"):
            name = "layers_block_type" if pattern is None else "hybrid_override_pattern"
            what = "attention (*), mamba (M) or mlp (-)"
            if kind == "moe":
                raise NotBuiltError(f"{name}[{index}]", kind, expected=what, source=c.source,
                                    hint="Experts without gates (moe, E) run through Transformers' code.")
            raise c.error(f"{name}[{index}]", kind, what)
    return kinds


def _attention(c: ConfigReader) -> AttentionSpec:
    size = c.positive("head_dim", "attention_head_dim", default=128)
    return replace(attention(c, positions=None), head_dim=size, scale=size ** -0.5)


def _mamba(c: ConfigReader, eps: float) -> Mamba2Spec:
    c.harmless("chunk_size", "expand", "time_step_limit", "time_step_max", "time_step_floor", "time_step_rank",
               "mamba_proj_bias")
    return with_groups(c, "n_groups", Mamba2Spec(
        num_heads=c.positive("mamba_num_heads", default=128), head_dim=c.positive("mamba_head_dim", default=64),
        num_groups=c.positive("n_groups", default=8), state_size=c.positive("ssm_state_size", default=128),
        conv_size=c.positive("conv_kernel", default=4), norm_eps=eps, act=activation(c, "mamba_hidden_act"),
        bias=c.bool("use_bias", default=False), conv_bias=c.bool("use_conv_bias", default=True),
        dt_limits=(c.float("time_step_min", default=0.001), math.inf)))


def _names(kinds: list[str]) -> NameMap:
    norms = {f"backbone.layers.{i}.norm": f"blocks.{i}.{'ffn' if kind == 'mlp' else 'mixer'}_norm"
             for i, kind in enumerate(kinds)}
    return names(mamba2_rules(_LAYER + "mixer.") | norms | {
        **{f"{_LAYER}mixer.{part}_proj": f"{_BLOCK}mixer.{part}" for part in ("q", "k", "v", "o")},
        **{f"{_LAYER}mixer.{part}_proj": f"{_BLOCK}ffn.{part}" for part in ("up", "down")},
        "backbone.embeddings": "embedding.tokens", "backbone.embedding": "embedding.tokens",
        "backbone.norm_f": "final_norm", "lm_head": "head",
    }, optional_prefix="backbone.", ignored_prefixes=("mtp.",))
