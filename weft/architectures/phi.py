"""Phi-1, 1.5 and 2: attention and MLP in parallel after one LayerNorm, with biases; rope on half of each head."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import GGUF_FUSED_QKV, gguf_names
from weft.architectures.parts import attention, decoder, layer_norm, llama_names, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, MLPSpec, QKNorm

_NAMES = llama_names({
    "model.layers.{i}.self_attn.dense": "blocks.{i}.mixer.o",
    "model.layers.{i}.self_attn.q_layernorm": "blocks.{i}.mixer.q_norm",
    "model.layers.{i}.self_attn.k_layernorm": "blocks.{i}.mixer.k_norm",
    "model.layers.{i}.mlp.fc1": "blocks.{i}.ffn.up",
    "model.layers.{i}.mlp.fc2": "blocks.{i}.ffn.down",
    "model.final_layernorm": "final_norm",
})


@architecture("PhiForCausalLM")
def phi(c: ConfigReader) -> DecoderSpec:
    """Phi-1 to 2. Source: arXiv:2309.05463; config.json of microsoft/phi-2."""
    norm = layer_norm(c)
    block = BlockSpec(
        mixer=attention(c, positions=rope(c, partial=0.5), qkv_bias=True, out_bias=True,
                        qk_norm=QKNorm(norm=norm) if c.bool("qk_layernorm", default=False) else None),
        ffn=MLPSpec(intermediate_size=c.positive("intermediate_size"), act=keys.activation(c, default="gelu_new"),
                    gated=False, bias=True),
        mixer_norm=norm,
        ffn_norm=None,
        parallel=True,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=_NAMES, head_bias=True,
                   gguf=gguf_names(GGUF_FUSED_QKV))
