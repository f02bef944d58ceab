"""Marian and Pegasus: BART with computed positions and no norm of the embeddings."""

from __future__ import annotations

from weft.architectures.bart_parts import bart_model, bart_names
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, Sinusoids

_SHARED, _APART = bart_names(), bart_names(shares_table=False)


@architecture("MarianMTModel", "MarianForCausalLM")
def marian(c: ConfigReader) -> DecoderSpec:
    """Marian, as Opus-MT trains it. Source: arXiv:1804.00344; config.json of Helsinki-NLP/opus-mt-en-de."""
    shares = c.bool("share_encoder_decoder_embeddings", default=True)
    size = c.positive("vocab_size")
    other = c.positive("decoder_vocab_size", default=size)
    return bart_model(c, _SHARED if shares else _APART, lambda side: _positions(c), has_embedding_norm=False,
                      shares_table=shares, vocab_sizes=(size, size if shares else other))


@architecture("PegasusForConditionalGeneration", "PegasusForCausalLM")
def pegasus(c: ConfigReader) -> DecoderSpec:
    """Pegasus, norms before the parts. Source: arXiv:1912.08777; config.json of google/pegasus-xsum."""
    return bart_model(c, _SHARED, lambda side: _positions(c), is_pre_norm=True, has_embedding_norm=False,
                      has_final_norm=True)


def _positions(c: ConfigReader) -> Sinusoids:
    return Sinusoids(num_positions=c.positive("max_position_embeddings", default=1024))
