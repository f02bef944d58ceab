"""max_model_len, the most tokens of a sequence: the model's limit from its config files, and the user's option."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

from weft.architectures.rope_parameters import RopeParameters, layer_types, read_rope
from weft.errors import ConfigError
from weft.resolve.config_file import HFConfig
from weft.resolve.hf.prompts import SENTENCE_CONFIG
from weft.resolve.json_file import read_json_if_there

KEYS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
        "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len")
DEFAULT = 2048

# rope types whose config already states the extended length.
_NOT_MULTIPLIED = frozenset({"longrope", "llama3", "yarn", "deepseek_yarn", "default"})
_MAX_FACTOR = 1e6

_UNBOUNDED = 1 << 40      # tokens: more than this means "no limit"

logger = logging.getLogger("weft")


@dataclass(frozen=True, slots=True)
class ModelLength:
    """limit, default: most tokens the model allows, and most without the option; source: the limit's key and file."""

    limit: int
    default: int
    source: str


def resolve_max_len(wanted: int | None, config: HFConfig, directory: Path, *,
                    disable_sliding_window: bool = False) -> tuple[int, bool, str]:
    """(max_model_len in tokens, whether it is fixed, its source).

    wanted: the option; None and -1: the model's default, which the memory plan may lower.
    disable_sliding_window: limit the length to the window, so that a windowed layer sees the whole sequence.
    """
    length = model_length(config, directory)
    window = _size(config, "sliding_window") if disable_sliding_window else None
    if window is not None and window < length.limit:
        length = ModelLength(window, window, "sliding_window, which disable_sliding_window makes the limit")
    if wanted is None or wanted == -1:
        if length.limit == _UNBOUNDED:
            logger.warning("max_model_len %d: %s has none of the keys %s; set max_model_len for more.", DEFAULT,
                           config.source, ", ".join(KEYS))
        return length.default, False, length.source
    if wanted > length.limit:
        raise ConfigError("max_model_len", wanted, expected=f"at most {length.limit}, the model's {length.source}",
                          hint="The model was not made for more; hf_overrides can change its config.")
    return wanted, True, "option max_model_len"


def model_length(config: HFConfig, directory: Path) -> ModelLength:
    """The model's length: the smallest of the config's KEYS times the rope factor, or the tokenizer's if smaller."""
    found = [(size, config.text_path + key) for key in KEYS if (size := _size(config, key))]
    limit, source = min(found, default=(None, ""))
    ropes = _ropes(config)
    if limit is not None and (factor := max((_factor(rope, config) for rope in ropes), default=1.0)) > 1.0:
        limit, source = int(limit * factor), f"{source} x rope factor {factor:g}"
    in_tokenizer = read_json_if_there(directory / "tokenizer_config.json").get("model_max_length")
    if isinstance(in_tokenizer, int | float) and 1 <= in_tokenizer < (limit or _UNBOUNDED):
        limit, source = int(in_tokenizer), "model_max_length of tokenizer_config.json"
    if limit is None:
        return ModelLength(_UNBOUNDED, DEFAULT, "default, as config.json states no length")
    trained = read_json_if_there(directory / SENTENCE_CONFIG).get("max_seq_length")
    if isinstance(trained, int) and 1 <= trained < limit:
        return ModelLength(limit, trained, f"{source} (taken unasked: max_seq_length of {SENTENCE_CONFIG} = {trained})")
    original = _longrope_original(ropes)
    if original is not None and original < limit:
        return ModelLength(limit, original, f"{source} (taken unasked: original_max_position_embeddings = {original})")
    return ModelLength(limit, limit, source)


def _size(config: HFConfig, key: str) -> int | None:
    """A length of the config in tokens. Null and 0 count as absent. ConfigError unless it is a whole number."""
    value = config.text.get(key)
    if value is None or (value == 0 and not isinstance(value, bool)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 1 <= value < math.inf \
            or value != int(value):
        raise ConfigError(config.text_path + key, value, expected="a number of tokens, at least 1",
                          source=config.source)
    return int(min(value, _UNBOUNDED))


def _ropes(config: HFConfig) -> list[RopeParameters]:
    """All rope parameters: one set, or one for each layer type."""
    reader = config.text_reader()
    found = [read_rope(reader, layer_type) for layer_type in layer_types(reader) or (None,)]
    return [rope for rope in found if rope is not None]


def _factor(rope: RopeParameters, config: HFConfig) -> float:
    model_type = config.text.get("model_type")
    if rope.rope_type in _NOT_MULTIPLIED or (isinstance(model_type, str) and model_type.startswith("gemma3")):
        return 1.0
    return min(rope.factor or 1.0, _MAX_FACTOR)


def _longrope_original(ropes: list[RopeParameters]) -> int | None:
    return next((rope.original_max_position_embeddings for rope in ropes if rope.rope_type == "longrope"), None)
