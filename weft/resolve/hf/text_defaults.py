"""Fills in sizes that a nested text config leaves to its config class. (LLaVA's text_config names a class and little
else.) The one case in which a plain config.json needs Transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.architectures.origin import class_default
from weft.architectures.reader import ConfigReader
from weft.architectures.rope_parameters import NAME as ROPE
from weft.errors import ConfigError
from weft.resolve.stages import TEXT_CONFIG_KEYS, Values

# A text config that lacks one of these relies on its class's defaults.
_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings")


def fill_text_defaults(given: Values, source: str) -> Values:
    """Add its class's defaults to the nested text config, if it lacks a size and its class is known.

    ConfigError when the class refuses the values.
    """
    name = next((key for key in TEXT_CONFIG_KEYS if isinstance(given.values.get(key), Mapping)), None)
    text = given.values[name] if name else {}
    if name is None or all(text.get(key) is not None for key in _SIZES):
        return given
    cls = _text_class(given.values, name)
    if not hasattr(cls, "to_dict"):
        return given
    from weft.resolve.hf.classes import build_config, own_values

    reader = ConfigReader(given.values, source=source, origins=given.origins).sub(name)
    defaults = {key: value for key, value in own_values(build_config(text, cls, source, reader)).items()
                if key not in text and key not in (ROPE, "model_type") and not key.startswith("_name")
                and not key.endswith("_token_id") and value is not None}      # token ids come from the tokenizer
    origins = {f"{name}.{key}": class_default(cls.__name__) for key in defaults}
    return Values(given.values | {name: {**text, **defaults}}, given.origins | origins)


def _text_class(values: Mapping[str, Any], name: str) -> Any:
    """The class of the text config's own model_type, else the one that the whole config's class nests, else None."""
    own = _class(values[name].get("model_type"))
    return own or getattr(_class(values.get("model_type")), "sub_configs", {}).get(name)


def _class(model_type: Any) -> Any:
    from weft.resolve.hf.classes import class_of

    try:
        return class_of({"model_type": model_type}, "") if isinstance(model_type, str) else None
    except ConfigError:
        return None
