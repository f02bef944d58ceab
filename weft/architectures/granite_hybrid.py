"""Granite 4: Mamba 2 in most layers, attention in the others, with or without experts beside the shared MLP."""

from __future__ import annotations

from dataclasses import replace

from weft.architectures import keys
from weft.architectures.granite import granite_decoder, granite_mixers
from weft.architectures.granite_moe import granite_experts, granite_moe_names, with_shared
from weft.architectures.hybrid import STATE, layer_kinds
from weft.architectures.mamba_parts import bamba_mixer, mamba2_rules
from weft.architectures.parts import gated_mlp, llama_names, rms_norm
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec

_MAMBA = mamba2_rules("model.layers.{i}.mamba.")
_SHARED = {"model.layers.{i}.shared_mlp.input_linear": ("blocks.{i}.ffn.gate", "blocks.{i}.ffn.up"),
           "model.layers.{i}.shared_mlp.output_linear": "blocks.{i}.ffn.down"}


@architecture("GraniteMoeHybridForCausalLM")
def granite_hybrid(c: ConfigReader) -> DecoderSpec:
    """Granite 4. Source: config.json of ibm-granite/granite-4.0-h-tiny."""
    kinds = layer_kinds(c, default=[STATE] * keys.num_layers(c))
    turns = c.str("position_embedding_type", default=None)
    if turns not in ("rope", "nope", None):
        raise c.error("position_embedding_type", turns, "rope, nope or null")
    attending = granite_mixers(c)[0]
    attending = attending if turns == "rope" else replace(attending, positions=None)
    mamba = bamba_mixer(c, eps=rms_norm(c).eps)
    mixers = [mamba if kind == STATE else attending for kind in kinds]
    if c.count("num_local_experts", default=8) > 0:
        moe = with_shared(c, granite_experts(c))
        return granite_decoder(c, mixers, moe, granite_moe_names(moe, _MAMBA))
    c.harmless("num_experts_per_tok", "intermediate_size")
    return granite_decoder(c, mixers, gated_mlp(c, size="shared_intermediate_size"), llama_names(_MAMBA | _SHARED))
