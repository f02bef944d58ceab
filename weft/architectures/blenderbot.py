"""Blenderbot (norms before the parts) and Blenderbot small (after; its decoder norms the embeddings alone)."""

from __future__ import annotations

from weft.architectures.bart_parts import bart_model, bart_names, learned
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec

_NAMES = bart_names()


@architecture("BlenderbotForConditionalGeneration", "BlenderbotForCausalLM")
def blenderbot(c: ConfigReader) -> DecoderSpec:
    """Blenderbot. Source: arXiv:2004.13637; config.json of facebook/blenderbot-400M-distill."""
    c.harmless("layernorm_variant")
    return bart_model(c, _NAMES, learned(c, default=128), is_pre_norm=True, has_embedding_norm=False,
                      has_final_norm=True)


@architecture("BlenderbotSmallForConditionalGeneration", "BlenderbotSmallForCausalLM")
def blenderbot_small(c: ConfigReader) -> DecoderSpec:
    """Blenderbot small. Source: arXiv:2004.13637; config.json of facebook/blenderbot_small-90M."""
    c.harmless("layernorm_variant")
    return bart_model(c, _NAMES, learned(c, default=512), norm_before_positions=True)
