"""What a model of Transformers says about itself before it has weights: what it is for, its encoder, its layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from weft.architectures.model_words import LayerWords, ModelWords
from weft.architectures.suffixes import runner_and_convert
from weft.architectures.words import layer_words
from weft.models.encoder_len import max_encoder_len
from weft.models.engine_model import EncoderInput
from weft.models.sizes import num_parameters
from weft.models.transformers.cache_own import text_config
from weft.models.transformers.outline import takes_argument
from weft.models.transformers.wiring import Site


def can_generate(model: Any) -> bool:
    """Whether a class has a head for the next token; masked language models have another."""
    named = runner_and_convert(type(model).__name__) or ("", "")
    return model.get_output_embeddings() is not None and (model.can_generate() or named[0] == "generate")


def encoder_input(model: Any, hf_config: Any) -> EncoderInput | None:
    """What the encoder of a model without memory takes; None: it has none beside a decoder."""
    if not takes_argument(model, "decoder_input_ids"):
        return None
    size = getattr(hf_config, "src_vocab_size", None)                        # FSMT has one for each language
    return EncoderInput(vocab_size=size or model.get_encoder().get_input_embeddings().num_embeddings,
                        max_len=max_encoder_len(hf_config))


def end_token(hf_config: Any) -> int | None:
    """The token that ends a text: classifiers beside an encoder read the state there."""
    found = getattr(hf_config, "eos_token_id", None)
    return found if isinstance(found, int) else None


def num_layers(hf_config: Any) -> int | None:
    """The number of layers that a config states."""
    found = getattr(text_config(hf_config), "num_hidden_layers", None)
    return found if isinstance(found, int) else None


def model_words(name: str, model: nn.Module, sites: Sequence[Site], caches: Sequence[Any]) -> ModelWords:
    """A model in words. sites: those that are wired. caches: the layers of each."""
    kinds: dict[tuple[Any, ...], list[int]] = {}
    for number, site in enumerate(sites):
        kinds.setdefault((site.num_heads, site.num_kv_heads, site.head_dim, site.window), []).append(number)
    each = num_parameters(model) // max(1, len(sites))
    rows = tuple(LayerWords(
        layers=layer_words(numbers), numbers=tuple(numbers),
        positions="Transformers", ffn="Transformers", norms="Transformers",
        attention=f"{heads} heads, {kv_heads} kv heads of {size}" + (f", window {window}" if window else ""),
        parameters=each, cache_bytes_per_token=caches[numbers[0]].need.bytes_per_token, state_bytes=0)
        for (heads, kv_heads, size, window), numbers in kinds.items())
    how = "wired to weft's cache" if sites else "unmodified, with its own cache"
    return ModelWords(f"{name} of Transformers, {how}", "as its code says", rows)
