"""Whisper: BART's stacks, norms before the parts, over rows of a spectrogram. Keys have no bias."""

from __future__ import annotations

from weft.architectures.bart_parts import bart_model, bart_names
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import architecture
from weft.architectures.spec import DecoderSpec, EmbeddingSpec, LearnedPositions, Sinusoids

_NAMES = bart_names(shares_table=False, head="proj_out", encoder={
    f"encoder.conv{i}": f"embedding.conv{i}" for i in (1, 2)})
# Of training, of classifiers, and of the alignment of words, which weft does not compute. `scale_embedding` is read by
# no forward of Transformers' Whisper.
_UNUSED = ("scale_embedding", "apply_spec_augment", "classifier_proj_size", "use_weighted_layer_sum", "mask_time_prob",
           "mask_time_length", "mask_time_min_masks", "mask_feature_prob", "mask_feature_length",
           "mask_feature_min_masks", "median_filter_width", "forced_decoder_ids", "lang_ids")


@architecture("WhisperForConditionalGeneration")
def whisper(c: ConfigReader) -> DecoderSpec:
    """Whisper. Source: arXiv:2212.04356; config.json of openai/whisper-tiny."""
    c.harmless(*_UNUSED)
    rows = Sinusoids(num_positions=c.positive("max_source_positions", default=1500), reaches_last=True)
    tokens = LearnedPositions(num_positions=c.positive("max_target_positions", default=448))
    source = EmbeddingSpec(vocab_size=0, positions=rows, num_mel_bins=c.positive("num_mel_bins", default=80))
    return bart_model(c, _NAMES, lambda side: rows if side == "encoder" else tokens, is_pre_norm=True,
                      has_embedding_norm=False, has_final_norm=True, has_head_bias=False, shares_table=False,
                      k_bias=False, source=source)
