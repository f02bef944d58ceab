"""What the end of an architecture's name says: what the model is for, and which other name has the same body.

`LlamaForSequenceClassification` is the body of `LlamaForCausalLM` with another end.
"""

from __future__ import annotations

from collections.abc import Container

# Suffix -> (runner, convert). The first that fits counts.
SUFFIXES: dict[str, tuple[str, str]] = {
    "ForCausalLM": ("generate", "none"),
    "ForConditionalGeneration": ("generate", "none"),
    "ChatModel": ("generate", "none"),
    "LMHeadModel": ("generate", "none"),
    "ForTextEncoding": ("pooling", "embed"),
    "EmbeddingModel": ("pooling", "embed"),
    "ForSequenceClassification": ("pooling", "classify"),
    "ForTokenClassification": ("pooling", "classify"),
    "ForAudioClassification": ("pooling", "classify"),
    "ForImageClassification": ("pooling", "classify"),
    "ForVideoClassification": ("pooling", "classify"),
    "ClassificationModel": ("pooling", "classify"),
    "ForRewardModeling": ("pooling", "embed"),
    "ForRewardModel": ("pooling", "embed"),
    "RewardModel": ("pooling", "embed"),
    "Model": ("pooling", "embed"),
}


def runner_and_convert(architecture: str) -> tuple[str, str] | None:
    """(runner, convert) by the name's suffix; None for a name with another end."""
    return next((value for suffix, value in SUFFIXES.items() if architecture.endswith(suffix)), None)


def base_architecture(architecture: str, known: Container[str]) -> str:
    """The name itself if known, else the known name of the same body, else the name.

    A name that pools has the body `...Model` where there is one: `BertModel`, not the decoder `BertLMHeadModel`.
    """
    if architecture in known:
        return architecture
    suffix = next((suffix for suffix in SUFFIXES if architecture.endswith(suffix)), None)
    if suffix is None:
        return architecture
    stem = architecture.removesuffix(suffix)
    others = ("Model", *SUFFIXES) if SUFFIXES[suffix][0] == "pooling" else tuple(SUFFIXES)
    return next((stem + other for other in others if stem and stem + other in known), architecture)
