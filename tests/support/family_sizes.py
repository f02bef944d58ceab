"""`sizes_of`: a small config of any described family, for what is said of families without a checkpoint."""

from __future__ import annotations

from typing import Any

import transformers
from tiny_decoders import DECODERS
from tiny_encoder_decoders import KINDS
from tiny_hybrids import HYBRID_VARIANTS
from tiny_variants import STATE_VARIANTS, VARIANTS
from tiny_whisper import CONFIG as WHISPER

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import families, names_of
from weft.architectures.sample import SAMPLE
from weft.errors import ConfigError

_TINIES = {tiny.cls: tiny.values for tiny in (VARIANTS | STATE_VARIANTS | HYBRID_VARIANTS | DECODERS).values()}
_TINIES |= dict(KINDS.values()) | {"WhisperForConditionalGeneration": WHISPER}


def sizes_of(architecture: str, sample: dict[str, Any] = SAMPLE) -> dict[str, Any]:
    """The sample's sizes; where these do not suit the family, those of its tiny model, or the sample as its text's."""
    entry = families()[architecture]
    for config in (sample, {"text_config": sample}):
        try:
            entry.describe(ConfigReader(config))
        except ConfigError:
            continue
        return config
    name = next(name for name in names_of(entry) if name in _TINIES)
    return getattr(transformers, name).config_class(**_TINIES[name]).to_dict()
