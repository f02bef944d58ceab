"""Llama 1 to 3.x and the many checkpoints that use its class; and close relatives: Seed-OSS, Arcee and CWM."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.gguf_names import gguf_names, paired_qk
from weft.architectures.parts import (
    LLAMA_NAMES,
    attention,
    decoder,
    gated_mlp,
    layer_windows,
    pre_norm,
    rms_norm,
    rope,
    sliding_window,
)
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec, MLPSpec


@architecture("LlamaForCausalLM", "LLaMAForCausalLM", "LlamaBidirectionalModel",
              "LlamaBidirectionalForSequenceClassification")
def llama(c: ConfigReader) -> DecoderSpec:
    """Llama 1 to 3.x. Source: arXiv:2302.13971, arXiv:2407.21783; config.json of meta-llama/Llama-3.1-8B."""
    norm = rms_norm(c)
    c.harmless("pooling")         # of LlamaBidirectionalModel, which resolve/fixups.py reads
    bias = c.bool("attention_bias", default=False)
    block = BlockSpec(
        mixer=attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias),
        ffn=gated_mlp(c, bias=c.bool("mlp_bias", default=False)),
        mixer_norm=norm,
        ffn_norm=norm,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES,
                   gguf=gguf_names(paired_qk(c)))


@architecture("Emu3ForCausalLM")
def emu3(c: ConfigReader) -> DecoderSpec:
    """Emu3's language model, which is Llama. Source: arXiv:2409.18869; config.json of BAAI/Emu3-Chat-hf."""
    return llama(c)


@architecture("SeedOssForCausalLM")
def seed_oss(c: ConfigReader) -> DecoderSpec:
    """Seed-OSS: biases on q, k and v but not out. Source: config.json of ByteDance-Seed/Seed-OSS-36B-Instruct."""
    norm = rms_norm(c)
    c.harmless("residual_dropout")
    block = BlockSpec(
        mixer=attention(c, positions=rope(c), qkv_bias=c.bool("attention_bias", default=True),
                        out_bias=c.bool("attention_out_bias", default=False)),
        ffn=gated_mlp(c, bias=c.bool("mlp_bias", default=False)),
        mixer_norm=norm,
        ffn_norm=norm,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES,
                   gguf=gguf_names({"blk.{i}.post_attention_norm": "blocks.{i}.ffn_norm"}))


@architecture("ArceeForCausalLM")
def arcee(c: ConfigReader) -> DecoderSpec:
    """Arcee AFM: an MLP without a gate, with squared ReLU. Source: config.json of arcee-ai/AFM-4.5B."""
    norm = rms_norm(c, eps=1e-5)
    bias = c.bool("attention_bias", default=False)
    block = BlockSpec(
        mixer=attention(c, positions=rope(c), qkv_bias=bias, out_bias=bias),
        ffn=MLPSpec(intermediate_size=c.positive("intermediate_size"), act=keys.activation(c, default="relu2"),
                    gated=False, bias=c.bool("mlp_bias", default=False)),
        mixer_norm=norm,
        ffn_norm=norm,
    )
    return decoder(c, blocks=[block] * keys.num_layers(c), final_norm=norm, names=LLAMA_NAMES,
                   gguf=gguf_names(paired_qk(c)))


@architecture("CwmForCausalLM")
def cwm(c: ConfigReader) -> DecoderSpec:
    """Code World Model: Llama with a window in three of four layers. Source: config.json of facebook/cwm."""
    norm, ffn = rms_norm(c, eps=1e-5), gated_mlp(c, bias=c.bool("mlp_bias", default=False))
    windows = layer_windows(c, sliding_window(c, default=8192), [i % 4 != 0 for i in range(keys.num_layers(c))])
    positions = rope(c, theta=1e6)
    blocks = [pre_norm(attention(c, positions=positions, window=window), ffn, norm) for window in windows]
    return decoder(c, blocks=blocks, final_norm=norm, names=LLAMA_NAMES)
