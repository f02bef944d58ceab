"""Tiny configs of one class that differ in single keys: each flips a switch, changes sizes or factors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from weft.architectures.keys import ACTIVATIONS
from weft.architectures.reader import HARMLESS
from weft.discover.tiny import KV_HEADS, LAYERS, SIZES, resized

_OTHER_ACT = {"silu": "gelu", "swish": "gelu"}
_NEVER = HARMLESS | {"vocab_size", "qk_head_dim", "model_type", "architectures", "torch_dtype",
                     "is_encoder_decoder"} - {"is_decoder"}


@dataclass(frozen=True, slots=True, eq=False)
class Variant:
    """A config. changed: keys whose values differ from the first config's."""

    values: dict[str, Any]
    changed: tuple[str, ...] = ()


def variants(values: Mapping[str, Any], column: int = 1) -> Iterator[Variant]:
    """All variants of a tiny config, after itself. Those of several keys come first; `split` divides them."""
    yield Variant(dict(values))
    yield _variant(values, resized(values, column))
    yield _variant(values, _with_layers(values))
    yield _variant(values, {**values, **{key: _other_float(value) for key, value in values.items()
                                         if type(value) is float and key not in _NEVER and value != 0.0}})
    yield from (_variant(values, other) for other in _other_layers(values))
    for key, value in values.items():
        for other in () if key in _NEVER else _others(key, value, values):
            yield Variant({**values, key: other}, (key,))


def _variant(values: Mapping[str, Any], other: dict[str, Any]) -> Variant:
    return Variant(other, tuple(key for key in other if other[key] != values.get(key)))


def split(variant: Variant, values: Mapping[str, Any]) -> list[Variant]:
    """A variant of several keys as variants of one key each."""
    if len(variant.changed) < 2:
        return []
    return [_variant(values, resized(values, 1, only=key) if key in SIZES else
                     {**values, key: variant.values[key]}) for key in variant.changed]


def _with_layers(values: Mapping[str, Any]) -> dict[str, Any]:
    """One layer more, with the first layer's entry in lists of layers."""
    other = dict(values)
    count = next((value for key in LAYERS if type(value := values.get(key)) is int), 0)
    for key, value in values.items():
        if key in LAYERS and value == count:
            other[key] = count + 1
        elif isinstance(value, list) and value and len(value) == count:
            other[key] = [*value, value[0]]
    return other


def _other_layers(values: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Layers of another kind, where all are of one."""
    window = {"sliding_window": 12} if "sliding_window" in values else {}
    for key, kinds in (("layer_types", ("full_attention", "sliding_attention")),
                       ("mlp_layer_types", ("dense", "sparse"))):
        types = values.get(key)
        if isinstance(types, list) and len(set(types)) == 1 and types[0] in kinds:
            more = window if key == "layer_types" else {}
            yield {**values, **more, key: [kinds[number % 2] for number in range(len(types))]}
            yield {**values, **more, key: [kinds[number == 0] for number in range(len(types))]}
    if values.get("mlp_only_layers") == []:
        yield {**values, "mlp_only_layers": [1]}


def _other_float(value: float) -> float:
    return value * 1.7 if value > 1 or value < 0.1 else value * 0.7


def _others(key: str, value: Any, values: Mapping[str, Any]) -> Iterator[Any]:
    """Other values that a key may have."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, str) and value in ACTIVATIONS:
        yield _OTHER_ACT.get(value, "silu")
    elif key in KV_HEADS and type(value) is int and value > 1:
        yield value // 2
    elif type(value) is int and key not in SIZES and key not in LAYERS and 0 <= value < 64:
        yield value + 1
    elif value is None:
        if key in SIZES and "rank" not in key:
            yield SIZES[key][0]
        elif "cap" in key:
            yield 7.0
    elif isinstance(value, list) and value and all(type(each) is float for each in value):
        yield [each * (2 + number % 2) for number, each in enumerate(value)]
    elif isinstance(value, list) and len(set(map(str, value))) > 1 and type(value[0]) in (str, int, bool):
        yield value[::-1]
    elif key == "rope_parameters" and isinstance(value, dict) and "rope_theta" in value:
        yield {**value, "rope_theta": 5e4}
        yield {**value, "rope_type": "linear", "factor": 2.0}
