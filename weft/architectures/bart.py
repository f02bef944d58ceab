"""BART, mBART, PLBart and MVP: trained positions from row 2 on, and a norm of the embeddings."""

from __future__ import annotations

from weft.architectures.bart_parts import bart_model, bart_names, learned
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec
from weft.errors import NotBuiltError

_NAMES = bart_names()


@architecture("BartForConditionalGeneration", "BartForCausalLM")
def bart(c: ConfigReader) -> DecoderSpec:
    """BART, norms after the parts. Source: arXiv:1910.13461; config.json of facebook/bart-large-cnn."""
    return bart_model(c, _NAMES, learned(c, offset=2))


@architecture("MBartForConditionalGeneration", "MBartForCausalLM")
def mbart(c: ConfigReader) -> DecoderSpec:
    """mBART, norms before the parts. Source: arXiv:2001.08210; config.json of facebook/mbart-large-cc25."""
    return bart_model(c, _NAMES, learned(c, offset=2), is_pre_norm=True, has_final_norm=True)


@architecture("PLBartForConditionalGeneration", "PLBartForCausalLM")
def plbart(c: ConfigReader) -> DecoderSpec:
    """PLBart. Source: arXiv:2103.06333; config.json of uclanlp/plbart-base."""
    return bart_model(c, _NAMES, learned(c, offset=2), scales=True)


@architecture("MvpForConditionalGeneration", "MvpForCausalLM")
def mvp(c: ConfigReader) -> DecoderSpec:
    """MVP without task prompts. Source: arXiv:2206.12131; config.json of RUCAIBox/mvp."""
    if c.bool("use_prompt", default=False):
        raise NotBuiltError("use_prompt", True, expected="false: prompts of tasks are not described", source=c.source)
    c.harmless("prompt_length", "prompt_mid_dim")
    return bart_model(c, _NAMES, learned(c, offset=2))
