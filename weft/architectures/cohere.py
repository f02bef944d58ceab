"""Command R, R+, R7B and A: attention and MLP in parallel, rope on neighbouring pairs, scaled logits."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.fine_experts import FINE_EXPERTS, dense_first
from weft.architectures.gguf_names import gguf_names
from weft.architectures.names import Rule, Scaled
from weft.architectures.parts import (
    LLAMA_NAMES,
    attention,
    decoder,
    experts,
    full_every,
    gated_mlp,
    layer_norm,
    layer_windows,
    llama_names,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.rope import has_layer_ropes
from weft.architectures.spec import BlockSpec, DecoderSpec, MoESpec, QKNorm, RMSNorm, Rope

_SHARED_DOWN = "model.layers.{i}.mlp.shared_experts.down_proj"


@architecture("CohereForCausalLM")
def cohere(c: ConfigReader) -> DecoderSpec:
    """Command R and R+. Source: config.json of CohereForAI/c4ai-command-r-plus."""
    norm = layer_norm(c, has_bias=False)
    bias = c.bool("attention_bias", default=False)
    qk_norm = QKNorm(norm=norm, scope="each_head") if c.bool("use_qk_norm", default=False) else None
    block = BlockSpec(
        mixer=attention(c, positions=rope(c, theta=5e5, interleaved=True), qkv_bias=bias, out_bias=bias,
                        qk_norm=qk_norm),
        ffn=gated_mlp(c), mixer_norm=norm, ffn_norm=None, parallel=True,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES, tied=True,
                   logit_scale=c.positive_float("logit_scale", default=0.0625), gguf=gguf_names())


@architecture("Cohere2ForCausalLM")
def cohere2(c: ConfigReader) -> DecoderSpec:
    """Command R7B and A: three layers with a window and rope, then one with neither. Source: arXiv:2504.00698."""
    norm = layer_norm(c, has_bias=False)
    bias = c.bool("attention_bias", default=False)
    every = c.positive("sliding_window_pattern", "_sliding_window_pattern", default=4)
    windows = layer_windows(c, sliding_window(c, default=4096),
                            [(i + 1) % every != 0 for i in range(keys.num_layers(c))])
    positions = rope(c, interleaved=True)
    c.expect("use_parallel_block", True)
    c.expect("use_gated_activation", True)
    c.expect("use_qk_norm", False)
    c.harmless("use_embedding_sharing", "use_parallel_embedding", "position_embedding_type", "layer_switch",
               "order_of_interleaved_layers", "rotary_pct", "cache_implementation")
    blocks = [
        BlockSpec(mixer=attention(c, positions=positions if window else None, qkv_bias=bias, out_bias=bias,
                                  window=window), ffn=gated_mlp(c), mixer_norm=norm, ffn_norm=None, parallel=True)
        for window in windows
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES, tied=True,
                   logit_scale=c.positive_float("logit_scale", default=0.0625), gguf=gguf_names())


@architecture("CohereCompassForCausalLM")
def cohere_compass(c: ConfigReader) -> DecoderSpec:
    """Cohere Compass, text: a rope for each kind of layer. Source: `cohere_compass` of Transformers."""
    norm, bias = layer_norm(c, has_bias=False), c.bool("attention_bias", default=False)
    windows = layer_windows(c, sliding_window(c, default=4096), [False] * keys.num_layers(c))
    blocks = [BlockSpec(mixer=attention(c, positions=_compass_rope(c, window), qkv_bias=bias, out_bias=bias,
                                        window=window),
                        ffn=gated_mlp(c), mixer_norm=norm, ffn_norm=None, parallel=True) for window in windows]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES, tied=True,
                   logit_scale=c.positive_float("logit_scale", default=1.0))


def _compass_rope(c: ConfigReader, window: int | None) -> Rope | None:
    """The rope of a kind of layer; null: the kind has none."""
    kind = "full_attention" if window is None else "sliding_attention"
    if not has_layer_ropes(c):
        return rope(c)
    return rope(c, layer_type=kind) if c.at(f"rope_parameters.{kind}") is not None else None


@architecture("Cohere2MoeForCausalLM")
def cohere2_moe(c: ConfigReader) -> DecoderSpec:
    """Command with a mixture of experts. Source: `cohere2_moe` of Transformers."""
    eps = c.positive_float("rms_norm_eps", default=None)
    norm = layer_norm(c, has_bias=False) if eps is None else RMSNorm(eps=eps)
    c.harmless("rope_theta", "rope_scaling", *([] if eps is None else ["layer_norm_eps"]))
    bias, positions = c.bool("attention_bias", default=False), rope(c, interleaved=True)
    windows = layer_windows(c, sliding_window(c, default=4096), full_every(c, 4))
    c.harmless("sliding_window_pattern")
    always = c.int("prefix_dense_sliding_window_pattern", default=1) == 1        # dense layers have positions anyway
    size = c.positive("prefix_dense_intermediate_size", default=None)
    dense = gated_mlp(c) if size is None else gated_mlp(c, size="prefix_dense_intermediate_size")
    is_mean = c.choice("shared_expert_combination_strategy", allowed=("average", "sum"), default="average") == "average"
    ffns = dense_first(c, dense, _experts(c, is_mean), first=0)
    blocks = [BlockSpec(mixer=attention(c, positions=positions if window or (always and ffn is dense) else None,
                                        qkv_bias=bias, out_bias=bias, window=window),
                        ffn=ffn, mixer_norm=norm, ffn_norm=None, parallel=True)
              for window, ffn in zip(windows, ffns, strict=True)]
    halved = {_SHARED_DOWN: Rule(_SHARED_DOWN, ("blocks.{i}.ffn.shared.down",), Scaled(factors=(0.5,)))}
    return decoder(c, blocks=blocks, final_norm=norm, tied=True,
                   names=llama_names(FINE_EXPERTS | (halved if is_mean else {})),
                   logit_scale=c.positive_float("logit_scale", default=0.0625))


def _experts(c: ConfigReader, is_mean: bool) -> MoESpec:
    """is_mean: the result is half the sum of the routed and the shared experts; loading halves the shared ones."""
    kind, expert = c.choice("expert_selection_fn", allowed=("softmax", "sigmoid"), default="softmax"), gated_mlp(c)
    is_normed = c.bool("norm_topk_prob", default=True) or kind == "softmax"
    count = c.count("num_shared_experts", default=0)
    shared = replace(expert, intermediate_size=count * expert.intermediate_size) if count > 0 else None
    return replace(experts(c, expert=expert, renormalize=is_normed, per_token=8, shared=shared), scores=kind,
                   scale=0.5 if is_mean and count > 0 else 1.0)
