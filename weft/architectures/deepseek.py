"""DeepSeek-V2 and V3: latent attention (MLA), shared experts, and many small routed experts chosen within groups."""

from __future__ import annotations

import math
from collections.abc import Mapping

from weft.architectures import keys
from weft.architectures.fine_experts import FINE_EXPERTS, fine_experts, mtp_layers, sigmoid_experts
from weft.architectures.gguf_names import gguf_names, shared_expert, stacked_experts
from weft.architectures.names import HeadMatrices, HeadRows, NameMap, Rule, names
from weft.architectures.parts import (
    LLAMA_BLOCK,
    LLAMA_ENDS,
    LLAMA_NAMES,
    decoder,
    gated_mlp,
    rms_norm,
    rope,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.rope_parameters import read_rope
from weft.architectures.spec import BlockSpec, DecoderSpec, MLASpec, MoESpec, RMSNorm, Rope, YarnScaling

_ATTENTION = {
    "model.layers.{i}.self_attn.q_a_proj": "blocks.{i}.mixer.q_a",
    "model.layers.{i}.self_attn.q_a_layernorm": "blocks.{i}.mixer.q_a_norm",
    "model.layers.{i}.self_attn.q_b_proj": "blocks.{i}.mixer.q_b",
    "model.layers.{i}.self_attn.kv_a_proj_with_mqa": "blocks.{i}.mixer.kv_a",
    "model.layers.{i}.self_attn.kv_a_layernorm": "blocks.{i}.mixer.kv_a_norm",
}
_GGUF = {
    "blk.{i}.attn_q_a": "blocks.{i}.mixer.q_a",
    "blk.{i}.attn_q_a_norm": "blocks.{i}.mixer.q_a_norm",
    "blk.{i}.attn_q_b": "blocks.{i}.mixer.q_b",
    "blk.{i}.attn_kv_a_mqa": "blocks.{i}.mixer.kv_a",
    "blk.{i}.attn_kv_a_norm": "blocks.{i}.mixer.kv_a_norm",
    "blk.{i}.exp_probs_b": "blocks.{i}.ffn.choice",
}


@architecture("DeepseekV2ForCausalLM")
def deepseek_v2(c: ConfigReader) -> DecoderSpec:
    """DeepSeek-V2, V2-Lite and V2.5. Source: arXiv:2405.04434; config.json of deepseek-ai/DeepSeek-V2-Lite."""
    c.expect("scoring_func", "softmax")
    method = c.choice("topk_method", allowed=("greedy", "group_limited_greedy"), default="greedy")
    moe = None
    if c.has("n_routed_experts"):
        moe = fine_experts(c, renormalize=False, scale=1.0, group_best=None if method == "greedy" else 1)
    c.harmless("n_group", "topk_group")
    return _decoder(c, rope(c, rotary_dim=rope_dim(c), interleaved=True), moe=moe)


@architecture("DeepseekV3ForCausalLM")
def deepseek_v3(c: ConfigReader) -> DecoderSpec:
    """DeepSeek-V3, V3.1 and R1. Source: arXiv:2412.19437; config.json of deepseek-ai/DeepSeek-V3."""
    positions = rope(c, rotary_dim=rope_dim(c), interleaved=c.bool("rope_interleave", default=True))
    moe = sigmoid_experts(c, scale=2.5, groups=8, used=4)
    return _decoder(c, positions, moe=moe, first_sparse=3)


def rope_dim(c: ConfigReader) -> int:
    """Size of the rotated part of a head of q and k."""
    size = c.positive("qk_rope_head_dim", default=64)
    if size % 2:
        raise c.error("qk_rope_head_dim", size, "an even number")
    return size


def _decoder(c: ConfigReader, positions: Rope, *, moe: MoESpec | None, first_sparse: int = 0) -> DecoderSpec:
    """The whole model. moe None: no layer has experts. first_sparse: the family's default for the first layer with
    experts.
    """
    first, every = c.count("first_k_dense_replace", default=first_sparse), c.positive("moe_layer_freq", default=1)
    c.harmless("ep_size", "aux_loss_alpha", "seq_aux")
    norm, mixer = rms_norm(c), latent_attention(c, positions)
    dense = gated_mlp(c, bias=c.bool("mlp_bias", default=False))
    blocks = [
        BlockSpec(mixer=mixer, ffn=dense if moe is None or layer < first or layer % every else moe, mixer_norm=norm,
                  ffn_norm=norm)
        for layer in range(keys.num_layers(c))
    ]
    return decoder(c, blocks=blocks, final_norm=norm, names=latent_names(c, mixer), gguf=_gguf_names(mixer, moe))


def latent_attention(c: ConfigReader, positions: Rope) -> MLASpec:
    """Latent attention with the config's sizes."""
    c.expect("use_mla", True)
    heads, nope = keys.num_heads(c), c.positive("qk_nope_head_dim", default=128)
    # MLA has a key and a value for every head; the other two sizes follow from nope_dim and rotary_dim.
    c.harmless("num_key_value_heads", "head_dim", "qk_head_dim")
    return MLASpec(
        num_heads=heads, q_rank=c.positive("q_lora_rank", default=None), kv_rank=c.positive("kv_lora_rank"),
        nope_dim=nope, value_dim=c.positive("v_head_dim"), positions=positions,
        scale=(nope + positions.rotary_dim) ** -0.5 * _stretch(c, positions) ** 2,
        norm=RMSNorm(eps=1e-6),               # fixed in the model's code, not rms_norm_eps
        bias=c.bool("attention_bias", default=False))


def _stretch(c: ConfigReader, positions: Rope) -> float:
    """DeepSeek's extra YaRN factor on q and on k, for the whole head and not only its rotated part.

    The rope type deepseek_llama_scaling goes without.
    """
    s, parameters = positions.scaling, read_rope(c)
    if parameters is not None and parameters.rope_type == "deepseek_llama_scaling":
        return 1.0
    if not isinstance(s, YarnScaling) or not s.mscale_all_dim or s.factor <= 1:
        return 1.0
    return 0.1 * s.mscale_all_dim * math.log(s.factor) + 1.0


def latent_names(c: ConfigReader, mixer: MLASpec, changes: Mapping[str, str] | None = None) -> NameMap:
    """The Hugging Face names, with some rules added or replaced."""
    kv_b = _kv_b("model.layers.{i}.self_attn.kv_b_proj", mixer)
    return names(LLAMA_BLOCK | LLAMA_ENDS | _ATTENTION | FINE_EXPERTS | kv_b | dict(changes or {}),
                 optional_prefix="model.", ignored=LLAMA_NAMES.ignored, ignored_prefixes=mtp_layers(c))


def _gguf_names(mixer: MLASpec, moe: MoESpec | None) -> NameMap:
    """The GGUF names. kv_b is one matrix (the first files), or split into k_b and v_b with one matrix for each head."""
    by_head = {
        f"blk.{{i}}.attn_{name}": Rule(f"blk.{{i}}.attn_{name}", (f"blocks.{{i}}.mixer.{name}",),
                                       HeadMatrices(transposed=name == "k_b")) for name in ("k_b", "v_b")}
    return gguf_names(_GGUF, by_head, _kv_b("blk.{i}.attn_kv_b", mixer), shared_expert(),
                      stacked_experts(0 if moe is None else moe.num_experts))


def _kv_b(source: str, mixer: MLASpec) -> dict[str, Rule]:
    targets = ("blocks.{i}.mixer.k_b", "blocks.{i}.mixer.v_b")
    return {source: Rule(source, targets, HeadRows(num_heads=mixer.num_heads, sizes=(mixer.nope_dim, mixer.value_dim)))}
