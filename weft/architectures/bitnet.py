"""BitNet b1.58: Llama with a norm before each part's last product, and gates of squared ReLU."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.parts import attention, decoder, gated_mlp, llama_names, pre_norm, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec

_NAMES = llama_names({"model.layers.{i}.self_attn.attn_sub_norm": "blocks.{i}.mixer.out_norm",
                      "model.layers.{i}.mlp.ffn_sub_norm": "blocks.{i}.ffn.inner_norm"})


@architecture("BitNetForCausalLM")
def bitnet(c: ConfigReader) -> DecoderSpec:
    """BitNet b1.58. Source: arXiv:2504.12285; config.json of microsoft/bitnet-b1.58-2B-4T-bf16."""
    norm, bias = rms_norm(c, eps=1e-5), c.bool("attention_bias", default=False)
    mixer = replace(attention(c, positions=rope(c, theta=5e5), qkv_bias=bias, out_bias=bias), out_norm=norm)
    ffn = replace(gated_mlp(c, default_act="relu2"), inner_norm=norm)
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm)] * keys.num_layers(c), final_norm=norm, names=_NAMES)
