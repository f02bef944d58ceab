"""Llama 4, text: attention in chunks with rope, then a layer with neither; an expert's weight scales its input."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.fine_experts import stacked
from weft.architectures.parts import attention, decoder, experts, gated_mlp, llama_names, pre_norm, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import AttentionSpec, DecoderSpec, QKNorm, QueryScaling, RMSNorm
from weft.cache.masks import Chunked

_FFN = "model.layers.{i}.feed_forward."
_NAMES = {_FFN + "router": "blocks.{i}.ffn.router"} | {
    f"{_FFN}{stored}{name}_proj": f"blocks.{{i}}.ffn.{part}{name}"
    for stored, part in (("", ""), ("shared_expert.", "shared.")) for name in ("gate", "up", "down")}


@architecture("Llama4ForCausalLM")
def llama4(c: ConfigReader) -> DecoderSpec:
    """Llama 4, text. Source: arXiv:2501.19399 (scaled queries); text_config of meta-llama/Llama-4-Scout-17B-16E."""
    norm, layers = rms_norm(c, eps=1e-5), keys.num_layers(c)
    expert = gated_mlp(c)
    sparse = replace(experts(c, expert=expert, renormalize=False, per_token=1, shared=expert), scores="sigmoid",
                     scales_input=True)
    dense = gated_mlp(c, size="intermediate_size_mlp")
    every = c.positive("interleave_moe_layer_step", default=1)
    with_experts = c.list("moe_layers", default=range(every - 1, layers, every))
    blocks = [pre_norm(_attention(c, layer, bool(turns)), sparse if layer in with_experts else dense, norm)
              for layer, turns in enumerate(_rope_layers(c))]
    names = _NAMES | stacked(sparse, _FFN + "experts.gate_up_proj", _FFN + "experts.down_proj", transposed=True)
    c.harmless("for_llm_compressor", "attn_scale", "floor_scale", "no_rope_layer_interval", "attention_chunk_size")
    return decoder(c, blocks=blocks, final_norm=norm, names=llama_names(names))


def _rope_layers(c: ConfigReader) -> list[int]:
    """Whether each layer has positions, 1 or 0."""
    layers, every = keys.num_layers(c), c.positive("no_rope_layer_interval", default=4)
    found = c.list("no_rope_layers", default=None) or [int((layer + 1) % every != 0) for layer in range(layers)]
    if len(found) != layers:
        raise c.error("no_rope_layers", found, f"a list of num_hidden_layers = {layers} entries")
    return list(found)


def _attention(c: ConfigReader, layer: int, turns: bool) -> AttentionSpec:
    """turns: whether the layer has positions."""
    bias, types = c.bool("attention_bias", default=False), c.list("layer_types", default=None)
    size = c.positive("attention_chunk_size", default=None)
    kind = ("chunked_attention" if turns else "full_attention") if types is None else types[layer]
    if kind not in ("chunked_attention", "full_attention"):
        raise c.error("layer_types", kind, "full_attention or chunked_attention")
    norm = RMSNorm(eps=c.positive_float("rms_norm_eps", default=1e-5), has_weight=False)
    has_norm = c.bool("use_qk_norm", default=True) and turns
    mixer = attention(c, positions=rope(c, theta=5e5, interleaved=True) if turns else None, qkv_bias=bias,
                      out_bias=bias, qk_norm=QKNorm(norm=norm, after_rotation=True) if has_norm else None)
    scaling = QueryScaling(beta=c.float("attn_scale", default=0.1), length=c.positive("floor_scale", default=8192),
                           shift=1) if c.bool("attn_temperature_tuning", default=True) and not turns else None
    mask = Chunked(size=size) if kind == "chunked_attention" and size is not None else mixer.mask
    return replace(mixer, query_scaling=scaling, mask=mask)
