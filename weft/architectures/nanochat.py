"""nanochat: norms without weights, also after the embedding and on q and k after the rotation; squared ReLU."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.parts import attention, decoder, llama_names, pre_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, EmbeddingSpec, MLPSpec, QKNorm, RMSNorm

_NAMES = llama_names({"model.layers.{i}.mlp.fc1": "blocks.{i}.ffn.up",
                      "model.layers.{i}.mlp.fc2": "blocks.{i}.ffn.down"})


@architecture("NanoChatForCausalLM")
def nanochat(c: ConfigReader) -> DecoderSpec:
    """nanochat. Source: github.com/karpathy/nanochat; `nanochat` of Transformers."""
    norm = RMSNorm(eps=c.positive_float("rms_norm_eps", default=1e-6), has_weight=False)
    bias = c.bool("attention_bias", default=False)
    mixer = attention(c, positions=replace(rope(c), backwards=True), qkv_bias=bias, out_bias=bias,
                      qk_norm=QKNorm(norm=norm, after_rotation=True))
    ffn = MLPSpec(intermediate_size=c.positive("intermediate_size"), act=keys.activation(c, default="relu2"),
                  gated=False)
    key = "final_logit_softcapping"
    softcap = c.positive_float(key, default=None if c.is_given(key) else 15.0)
    return decoder(c, blocks=[pre_norm(mixer, ffn, norm)] * keys.num_layers(c), final_norm=norm, names=_NAMES,
                   embedding=EmbeddingSpec(vocab_size=c.positive("vocab_size"), norm=norm), logit_softcap=softcap)
