"""Every value of a resolved config with its source, for `weft inspect --config`. Reads no weights, needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weft.architectures.origin import source_of
from weft.architectures.reader import ConfigReader
from weft.architectures.registry import Architecture
from weft.config.engine_config import ModelConfig
from weft.errors import ConfigError
from weft.models.choose import choose_model
from weft.models.describe import describe
from weft.resolve.options.override_check import is_read_by_resolve


@dataclass(frozen=True, slots=True)
class Value:
    """One key. source: a file (with the key's name there, if different), override, class default or fixup.

    is_used: whether the model reads the key; None if unknown, because weft does not describe the architecture.
    """

    key: str
    value: Any
    source: str
    is_used: bool | None


@dataclass(frozen=True, slots=True)
class Provenance:
    """A config's values. error: why weft could not describe the model; empty if it could."""

    file: str
    values: tuple[Value, ...]
    error: str


def provenance(model: ModelConfig) -> Provenance:
    """All values of a model's config, also of an architecture that weft does not describe."""
    reader, error = None, ""
    try:
        chosen = choose_model(model)
        if isinstance(chosen, Architecture):
            _, reader = describe(model, chosen)
        else:
            error = f"The code of {chosen.__qualname__} reads the config."
    except ConfigError as caught:
        error = str(caught)
    rows = [Value(key, value, source_of(key, model.origins, model.config_source),
                  is_read_by_resolve(key) or (None if reader is None else reader.is_used(key)))
            for key, value in _leaves(model.hf_config)]
    if reader is not None:
        rows += _family_defaults(reader, {row.key for row in rows})
    rows += [Value(key, value, model.origins.get(key, "option"), True) for key, value in (
        ("dtype", model.dtype), ("max_model_len", model.max_model_len))]
    rows += [Value(f"sampling.{key}", value, model.origins.get(f"sampling.{key}", "option"), True)
             for key, value in model.generation_defaults.items()]
    return Provenance(model.config_source, tuple(rows), error)


def _family_defaults(reader: ConfigReader, known: set[str]) -> list[Value]:
    return [Value(key, value, source, True) for key, (value, source) in reader.values_read().items()
            if key not in known and not isinstance(value, Mapping) and value is not None]


def _leaves(values: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{path}{key}.")
        elif path or key not in ("dtype", "torch_dtype"):      # the resolved dtype has a separate row
            yield path + key, value
