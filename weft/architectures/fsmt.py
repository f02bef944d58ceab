"""FSMT, fairseq's translation models of WMT 2019: a table for each language, computed positions, no head bias."""

from __future__ import annotations

from weft.architectures.bart_parts import bart_model, bart_names
from weft.architectures.encoders import padded_first
from weft.architectures.names import NameMap, Rule
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, Sinusoids

_BART = bart_names(shares_table=False)
_NAMES = NameMap(rules=(Rule("model.decoder.output_projection", ("head",)), *_BART.rules),
                 optional_prefix=_BART.optional_prefix, ignored=_BART.ignored)


@architecture("FSMTForConditionalGeneration")
def fsmt(c: ConfigReader) -> DecoderSpec:
    """FSMT. Source: arXiv:1907.06616; config.json of facebook/wmt19-en-de."""
    c.harmless("langs", "max_length", "tie_encoder_decoder")
    positions = Sinusoids(num_positions=c.positive("max_position_embeddings", default=1024),
                          offset=padded_first(c), reaches_last=True)
    return bart_model(c, _NAMES, lambda side: positions, has_embedding_norm=False, scales=True, has_head_bias=False,
                      shares_table=False, tied=False,
                      vocab_sizes=(c.positive("src_vocab_size"), c.positive("tgt_vocab_size")))
