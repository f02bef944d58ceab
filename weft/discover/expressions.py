"""What a config's keys can say: expressions of a description, evaluated for each config and layer that was seen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations
from types import CodeType
from typing import Any

from weft.architectures import keys
from weft.architectures.part import Part
from weft.architectures.parts import is_sparse_layer
from weft.architectures.reader import HARMLESS, ConfigReader
from weft.architectures.rope import rope
from weft.discover.ropes import rope_calls
from weft.discover.tiny import LAYERS, SIZES
from weft.errors import WeftError

_NAMES = {"keys": keys, "rope": rope, "replace": replace, "is_sparse_layer": is_sparse_layer, "bool": bool}
_NONE: Any = object()           # the value of an expression that cannot be evaluated
_RELATIVE = 2e-4                # difference of factors that were measured
SIZE_CALLS = ("keys.num_heads(c)", "keys.num_kv_heads(c)", "keys.head_dim(c)", "keys.hidden_size(c)",
              "keys.num_layers(c)")


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A config that was seen, and a layer of its model; 0 for values that no layer has."""

    c: ConfigReader
    layer: int = 0


def equal(x: Any, y: Any) -> bool:
    """Whether two values are the same; measured factors are so within 2e-4."""
    if isinstance(x, float) and isinstance(y, int | float) and not isinstance(y, bool):
        return abs(x - y) <= _RELATIVE * max(abs(x), abs(y))
    if isinstance(x, Part) or isinstance(y, Part):
        return x == y
    return type(x) is type(y) and x == y


@dataclass(slots=True)
class Expressions:
    """The expressions of some configs' keys.

    defaults: the config class's own values. aliases: {another name: the key}, of the class.
    """

    samples: list[Sample]
    defaults: dict[str, Any]
    aliases: dict[str, str]
    _codes: dict[str, CodeType] = field(default_factory=dict)
    _values: dict[tuple[int, int, str], Any] = field(default_factory=dict)
    _lists: dict[str, list[str]] = field(default_factory=dict)

    def matching(self, samples: list[Sample], values: list[Any]) -> str | None:
        """The first expression whose value is the wanted one for each sample."""
        wanted = next(x for x in (*values, None) if x is not None or values == [None] * len(values))
        for text in self._of_kind(wanted):
            if all(equal(value, self.value(sample, text)) for sample, value in zip(samples, values, strict=True)):
                return text
        return None

    def by_size(self, samples: list[Sample], value: float) -> str | None:
        """The root of a size that is a number; it may have been seen for one size only, and is no accident."""
        return next((text for text in ("keys.head_dim(c) ** -0.5", "keys.hidden_size(c) ** 0.5")
                     if value != 1.0 and all(equal(value, self.value(sample, text)) for sample in samples)), None)

    def conditions(self, samples: list[Sample]) -> Iterator[tuple[str, list[bool]]]:
        """(condition, its value for each sample) of all conditions that tell samples apart, the plainest first."""
        for text in self._of_kind(True):
            values = [self.value(sample, text) for sample in samples]
            if all(isinstance(x, bool) for x in values) and len(set(values)) == 2:
                yield text, values

    def value(self, sample: Sample, text: str) -> Any:
        """The value of an expression; an object that equals nothing where it has none."""
        place = (id(sample.c), sample.layer, text)
        if place not in self._values:
            code = self._codes.setdefault(text, compile(text, "<description>", "eval"))
            try:
                self._values[place] = eval(code, {**_NAMES, "c": sample.c, "layer": sample.layer})
            except (WeftError, ArithmeticError, LookupError, TypeError, ValueError):
                self._values[place] = _NONE
        return self._values[place]

    def _of_kind(self, wanted: Any) -> list[str]:
        kind = type(wanted).__name__
        makers = {"bool": self._bools, "int": self._ints, "float": self._floats, "str": self._strings,
                  "Rope": self._ropes}
        if kind not in self._lists:
            self._lists[kind] = list(dict.fromkeys(makers[kind]())) if kind in makers else []
        return self._lists[kind]

    # Keys

    def _keys(self, *kinds: type) -> list[str]:
        """Keys that have a value of one of these types in some config."""
        found: dict[str, None] = {}
        for sample in self.samples:
            for key, value in sample.c.all_values().items():
                if type(value) in kinds and (key not in HARMLESS or key in ("is_decoder",)):
                    found[key] = None
        return list(found)

    def _spelled(self, key: str) -> str:
        """The key in quotes, and the other names that files may have it under."""
        others = [name for name, known in self.aliases.items() if known == key]
        return ", ".join(f'"{name}"' for name in (key, *others))

    def _default(self, key: str, kinds: tuple[type, ...]) -> str:
        """`, default=…` for a key that files may lack."""
        value = self.defaults.get(key, _NONE)
        if value is None or any(sample.c.value(key) is None for sample in self.samples):
            return ", default=None"
        is_size = key in SIZES or key in LAYERS
        return f", default={value!r}" if type(value) in kinds and not is_size else ""

    def _number(self, key: str) -> str:
        is_int = any(type(sample.c.value(key)) is int for sample in self.samples) and not any(
            type(sample.c.value(key)) is float for sample in self.samples)
        return f'c.{"int" if is_int else "float"}({self._spelled(key)}{self._default(key, (int, float))})'

    def _ints(self) -> Iterator[str]:
        plain = [f'c.positive({self._spelled(key)}{self._default(key, (int,))})' for key in self._keys(int)]
        yield from (*SIZE_CALLS[:4], *plain)
        yield "4 * keys.hidden_size(c)"
        yield from (f"keys.hidden_size(c) // {x}" for x in ("keys.num_heads(c)", *plain) if "head" in x)
        yield from (f'c.list("{key}")[layer]' for key in self._keys(list, tuple))
        yield from (f"{x} {sign} {n}" for x in plain for sign in "+-" for n in (1, 2, 4))
        yield from (f"{x} * {y}" for x, y in combinations(plain, 2))
        yield from (f"{x} - {y}" for x, y in permutations(plain, 2))

    def _floats(self) -> Iterator[str]:
        numbers = [self._number(key) for key in self._keys(float, int)]
        wide = [*numbers, "keys.head_dim(c)", "keys.hidden_size(c)"]
        yield "keys.head_dim(c) ** -0.5"
        heads = [f'c.positive("{key}")' for key in self._keys(int) if key.startswith("qk_")]
        yield from (f"({x} + {y}) ** -0.5" for x, y in combinations(heads, 2))
        yield from (f"(keys.hidden_size(c) // {self._number(key)}) ** -0.5" for key in self._keys(int) if "head" in key)
        yield from numbers
        yield from (f"{x} ** {power}" for x in wide for power in ("0.5", "-0.5", "-1"))
        yield "keys.head_dim(c) ** -0.5 / (layer + 1)"
        yield from (f"{x} / {y} ** 0.5" for x in numbers for y in ("keys.num_layers(c)", "keys.head_dim(c)"))
        yield from (f"{x} / {y}" for x, y in permutations(wide, 2))
        yield from (f"{x} * {y}" for x, y in combinations(wide, 2))

    def _strings(self) -> Iterator[str]:
        acts = [key for key in self._keys(str) if "act" in key]
        for key in acts:
            default = self.defaults.get(key)
            more = f', default="{default}"' if default in keys.ACTIVATIONS else ""
            yield f'keys.activation(c, "{key}"{more})'
        yield from (f'c.str("{key}")' for key in self._keys(str) if key not in acts)

    def _bools(self) -> Iterator[str]:
        plain = [f'c.bool({self._spelled(key)}{self._default(key, (bool,))})' for key in self._keys(bool)]
        plain.append('c.bool("tie_word_embeddings", default=True)')
        yield from plain
        yield from (f"not {x}" for x in plain)
        yield from self._layer_conditions()
        yield from (f'c.has("{key}")' for key in self._keys(int, float, dict, list))
        for key in self._keys(str):
            found = {sample.c.value(key) for sample in self.samples}
            yield from (f'c.str("{key}") == "{value}"' for value in found if isinstance(value, str))
        ints = [self._number(key) for key in self._keys(int) if key not in SIZES]
        yield from (f"{x} > {n}" for x in ints for n in (0, 1))
        counts = [self._number(key) for key in self._keys(int)]
        yield from (f"{x} != {y}" for x, y in combinations((*counts, *SIZE_CALLS[:4]), 2))
        yield from (f"{x} {word} {y}" for word in ("and", "or", "and not", "or not") for x, y in permutations(plain, 2))

    def _layer_conditions(self) -> Iterator[str]:
        if self._keys(list, tuple) and any("mlp_only_layers" in sample.c.all_values() for sample in self.samples):
            yield "is_sparse_layer(c, layer)"
        for key in self._keys(list, tuple):
            lists = [value for sample in self.samples if isinstance(value := sample.c.value(key), list | tuple)]
            entries = dict.fromkeys(entry for value in lists for entry in value if isinstance(entry, str))
            yield from (f'c.list("{key}")[layer] == "{entry}"' for entry in entries)
            yield f'bool(c.list("{key}")[layer])'
            yield f'layer in c.list("{key}")'
        for key in self._keys(int):
            if re.search("vocab|token_id|hidden|position", key):
                continue
            x = self._number(key)
            yield from (f"layer < {x}", f"(layer + 1) % {x} == 0", f"layer % {x} == 0")
        yield from ("layer % 2 == 0", "layer == 0")
        yield from self._spans()

    def _spans(self) -> Iterator[str]:
        """Every so many layers, from one on and up to one."""
        firsts, lasts, steps = ([self._number(key) for key in self._keys(int) if re.search(words, key)]
                                for words in ("start|first|begin", "end_|last", "interval|freq|every|step"))
        for x in firsts:
            for y in steps:
                yield from (f"layer >= {x} and {each} % {y} == 0" for each in ("layer", "(layer + 1)"))
                yield from (f"{x} <= layer <= {z} and {each} % {y} == 0" for z in lasts
                            for each in ("layer", "(layer + 1)"))

    def _ropes(self) -> Iterator[str]:
        for sample in self.samples:
            yield from rope_calls(sample.c)
        for key in self._keys(list, tuple):
            yield f'replace(rope(c), theta=c.list("{key}")[layer])'
