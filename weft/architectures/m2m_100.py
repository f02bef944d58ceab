"""M2M100 and NLLB: norms before the parts, computed positions that begin after the padding token's, no head bias."""

from __future__ import annotations

from weft.architectures.bart_parts import bart_model, bart_names
from weft.architectures.encoders import padded_first
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, Sinusoids

_NAMES = bart_names()


@architecture("M2M100ForConditionalGeneration")
def m2m_100(c: ConfigReader) -> DecoderSpec:
    """M2M100 and NLLB. Source: arXiv:2010.11125, arXiv:2207.04672; config.json of facebook/nllb-200-distilled-600M."""
    first = padded_first(c)
    positions = Sinusoids(num_positions=c.positive("max_position_embeddings", default=1024), offset=first,
                                    reaches_last=True, padding_id=first - 1)
    return bart_model(c, _NAMES, lambda side: positions, is_pre_norm=True, has_embedding_norm=False,
                      has_final_norm=True, scales=True, has_head_bias=False)
