"""StableLM 2 and 3B: rope on a quarter of each head, LayerNorm; in 12B a separate norm for each head of q and k."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names
from weft.architectures.parts import attention, decoder, gated_mlp, layer_norm, llama_names, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, QKNorm

_NAMES = llama_names({
    "model.layers.{i}.self_attn.q_layernorm.norms.{row}": "blocks.{i}.mixer.q_norm.{row}",
    "model.layers.{i}.self_attn.k_layernorm.norms.{row}": "blocks.{i}.mixer.k_norm.{row}",
}, by_row=("blocks.{i}.mixer.q_norm", "blocks.{i}.mixer.k_norm"))


@architecture("StableLmForCausalLM", "StableLMEpochForCausalLM")
def stablelm(c: ConfigReader) -> DecoderSpec:
    """StableLM. Source: arXiv:2402.17834; config.json of stabilityai/stablelm-3b-4e1t and stablelm-2-12b."""
    norm = layer_norm(c)
    parallel = c.bool("use_parallel_residual", default=False)
    qk_norm = None
    if c.bool("qk_layernorm", default=False):
        qk_norm = QKNorm(norm=layer_norm(c, has_bias=False), scope="each_head")
    block = BlockSpec(
        mixer=attention(c, positions=rope(c, partial=0.25), qkv_bias=c.bool("use_qkv_bias", default=False),
                        qk_norm=qk_norm),
        ffn=gated_mlp(c),
        mixer_norm=norm,
        ffn_norm=None if parallel else norm,
        parallel=parallel,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=_NAMES, gguf=gguf_names())
