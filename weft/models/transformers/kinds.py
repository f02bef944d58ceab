"""The modules that hold a Transformers model: their class names say the kind of model, as vLLM's backend names them.

`apply_model(lambda model: type(model).__name__)` gives such a name; the model of Transformers is in `model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

# Keys of configs that state a number of experts, and those that state another kind of input.
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "num_routed_experts", "moe_num_experts")
_MEDIA = ("vision_config", "audio_config", "speech_config")


class TransformersModule(nn.Module):
    """Holds a model of Transformers.

    level: how it runs: "wired and fused", "wired" or "own cache". reason: why it is not the level before, in words.
    """

    level, reason = "wired", ""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model


class TransformersForCausalLM(TransformersModule):
    """A model that generates tokens."""


class TransformersMoEForCausalLM(TransformersForCausalLM):
    """A model with experts that generates tokens."""


class TransformersMultiModalForCausalLM(TransformersForCausalLM):
    """A model that generates tokens, from text and images."""


class TransformersMultiModalMoEForCausalLM(TransformersMultiModalForCausalLM, TransformersMoEForCausalLM):
    """The same with experts."""


class TransformersEmbeddingModel(TransformersModule):
    """A model whose hidden states are pooled."""


class TransformersMoEEmbeddingModel(TransformersEmbeddingModel):
    """A model with experts whose hidden states are pooled."""


class TransformersMultiModalEmbeddingModel(TransformersEmbeddingModel):
    """A model whose hidden states are pooled, with parts for media."""


class TransformersForSequenceClassification(TransformersModule):
    """A model that classifies a prompt."""


class TransformersMoEForSequenceClassification(TransformersForSequenceClassification):
    """A model with experts that classifies a prompt."""


class TransformersMultiModalForSequenceClassification(TransformersForSequenceClassification):
    """A model that classifies a prompt, with parts for media."""


_CLASSES: dict[tuple[str, bool, bool], type[TransformersModule]] = {         # (purpose, has media, has experts)
    ("generate", False, False): TransformersForCausalLM,
    ("generate", False, True): TransformersMoEForCausalLM,
    ("generate", True, False): TransformersMultiModalForCausalLM,
    ("generate", True, True): TransformersMultiModalMoEForCausalLM,
    ("embed", False, False): TransformersEmbeddingModel,
    ("embed", False, True): TransformersMoEEmbeddingModel,
    ("embed", True, False): TransformersMultiModalEmbeddingModel,
    ("classify", False, False): TransformersForSequenceClassification,
    ("classify", False, True): TransformersMoEForSequenceClassification,
    ("classify", True, False): TransformersMultiModalForSequenceClassification,
}


def module_class(purpose: str, hf_config: Mapping[str, Any]) -> type[TransformersModule]:
    """The class for a model. purpose: "generate", "embed" or "classify"."""
    text = hf_config.get("text_config") or hf_config
    has_media = any(hf_config.get(key) for key in _MEDIA)
    has_experts = any(isinstance(text.get(key), int) and text[key] > 1 for key in _EXPERTS)
    return _CLASSES.get((purpose, has_media, has_experts)) or _CLASSES[(purpose, has_media, False)]
