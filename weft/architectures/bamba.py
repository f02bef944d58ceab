"""Bamba: Mamba 2, and attention with rotary positions in some layers."""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.hybrid import ATTENTION, STATE, layers_in
from weft.architectures.mamba_parts import bamba_mixer, mamba2_rules
from weft.architectures.names import names
from weft.architectures.parts import LLAMA_BLOCK, LLAMA_ENDS, LLAMA_NAMES, attention, decoder, gated_mlp, rms_norm, rope
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import BlockSpec, DecoderSpec

# Names of blocks of two parts, which Jamba, Bamba and Falcon-H1 share.
FEED_FORWARD = {
    "model.layers.{i}.pre_ff_layernorm": "blocks.{i}.ffn_norm",
    "model.final_layernorm": "final_norm",
    **{f"model.layers.{{i}}.feed_forward.{part}_proj": f"blocks.{{i}}.ffn.{part}" for part in ("gate", "up", "down")},
}
_NAMES = names(LLAMA_BLOCK | LLAMA_ENDS | FEED_FORWARD | mamba2_rules("model.layers.{i}.mamba."),
               optional_prefix="model.", ignored=LLAMA_NAMES.ignored)


@architecture("BambaForCausalLM")
def bamba(c: ConfigReader) -> DecoderSpec:
    """Bamba. Source: `bamba` of Transformers and config.json of ibm-fms/Bamba-9B."""
    norm, bias = rms_norm(c, eps=1e-5), c.bool("attention_bias", default=False)
    attending = layers_in(c, "attn_layer_indices")
    c.harmless("z_loss_coefficient", "num_logits_to_keep", "layers_block_type", "layer_types")
    mixers = {ATTENTION: attention(c, positions=rope(c, partial=0.5), qkv_bias=bias, out_bias=bias),
              STATE: bamba_mixer(c, eps=norm.eps)}
    ffn = gated_mlp(c, bias=c.bool("mlp_bias", default=False))
    kinds = [ATTENTION if layer in attending else STATE for layer in range(keys.num_layers(c))]
    blocks = [BlockSpec(mixer=mixers[kind], ffn=ffn, mixer_norm=norm, ffn_norm=norm) for kind in kinds]
    return decoder(c, blocks=blocks, final_norm=norm, names=_NAMES)
