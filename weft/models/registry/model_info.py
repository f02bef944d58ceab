"""`ModelInfo`: what can be asked of a model before it is built, of programmed and of described models alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.architectures.reader import ConfigReader
from weft.architectures.registry import Architecture
from weft.architectures.sample import SAMPLE
from weft.architectures.spec import EncoderSpec, ModelSpec, PairSpec, StateSpec
from weft.errors import ConfigError
from weft.models import interfaces, interfaces_base


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """The abilities of a model. architecture: the name of the class, or of the description (is_described)."""

    architecture: str
    is_described: bool = False
    is_text_generation_model: bool = False
    is_pooling_model: bool = False
    default_seq_pooling_type: str = "LAST"
    default_tok_pooling_type: str = "ALL"
    attn_type: str = "decoder"
    score_type: str = "bi-encoder"
    supports_cross_encoding: bool = False
    supports_late_interaction: bool = False
    supports_multimodal: bool = False
    supports_multimodal_raw_input_only: bool = False
    supports_multimodal_encoder_tp_data: bool = False
    supports_lora: bool = False
    supports_pp: bool = False
    has_inner_state: bool = False
    is_attention_free: bool = False
    is_hybrid: bool = False
    has_noops: bool = False
    supports_mamba_prefix_caching: bool = False
    supports_transcription: bool = False
    supports_transcription_only: bool = False
    supports_realtime: bool = False
    supports_eagle: bool = False
    supports_eagle3: bool = False
    supports_mrope: bool = False
    supports_score_template: bool = False

    @classmethod
    def from_model_cls(cls, model: Any) -> ModelInfo:
        """Of a programmed model's class."""
        predicates = (
            interfaces_base.is_text_generation_model, interfaces_base.is_pooling_model,
            interfaces.supports_cross_encoding, interfaces.supports_late_interaction, interfaces.supports_multimodal,
            interfaces.supports_multimodal_raw_input_only, interfaces.supports_multimodal_encoder_tp_data,
            interfaces.supports_lora, interfaces.supports_pp, interfaces.has_inner_state, interfaces.is_attention_free,
            interfaces.is_hybrid, interfaces.has_noops, interfaces.supports_mamba_prefix_caching,
            interfaces.supports_transcription, interfaces.supports_realtime, interfaces.supports_eagle,
            interfaces.supports_eagle3, interfaces.supports_mrope, interfaces.supports_score_template)
        return cls(
            architecture=model.__name__,
            default_seq_pooling_type=interfaces_base.get_default_seq_pooling_type(model),
            default_tok_pooling_type=interfaces_base.get_default_tok_pooling_type(model),
            attn_type=interfaces_base.get_attn_type(model), score_type=interfaces_base.get_score_type(model),
            supports_transcription_only=bool(getattr(model, "supports_transcription_only", False)),
            **{predicate.__name__: predicate(model) for predicate in predicates})

    @classmethod
    def of_description(cls, architecture: Architecture, config: Mapping[str, Any] | None) -> ModelInfo:
        """Of a described model with this config; None: of sample sizes and the family's defaults.

        A description that the sample does not suit is taken for one of a model that generates and has attention.
        """
        try:
            spec = architecture.describe(ConfigReader(SAMPLE if config is None else config))
        except ConfigError:
            if config is not None:
                raise
            return cls(architecture=architecture.name, is_described=True, is_text_generation_model=True)
        return cls(architecture=architecture.name, is_described=True, **_abilities(spec))


def _abilities(spec: ModelSpec) -> dict[str, Any]:
    mixers = [block.mixer for block in spec.blocks if block.mixer is not None]
    has_state = any(isinstance(mixer, StateSpec | PairSpec) for mixer in mixers)
    is_attention_free = all(isinstance(mixer, StateSpec) for mixer in mixers)
    abilities = {"has_inner_state": has_state, "is_attention_free": is_attention_free,
                 "is_hybrid": has_state and not is_attention_free}
    if isinstance(spec, EncoderSpec):
        return abilities | {"is_pooling_model": True, "attn_type": "encoder_only",
                            "default_seq_pooling_type": spec.default_pooling.upper()}
    return abilities | {"is_text_generation_model": True}
