"""Rotary (rope) parameters of a config: all spellings become `rope_parameters`, which are read as one typed object.

`normalise_rope` moves and renames keys and records where they came from; `read_rope` checks the values. Knows no head
size: `architectures/rope.py` says how much of a head is rotated. Source: configs of Transformers 4 and 5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeGuard

from weft.architectures.origin import moved
from weft.architectures.reader import ConfigReader

NAME = "rope_parameters"
_OLD_NAME = "rope_scaling"

# Spellings of keys that configs have outside `rope_scaling`; the first one present counts.
_OUTSIDE = {
    "rope_theta": ("rope_theta", "rotary_emb_base"),
    "partial_rotary_factor": ("partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_emb_fraction"),
    "original_max_position_embeddings": ("original_max_position_embeddings",),
}
# Old names of rope types.
_ALIASES = {"su": "longrope", "mrope": "default", "telechat3-yarn": "yarn"}

# rope_type -> (required keys, optional keys), besides the three of _OUTSIDE.
_YARN = ("factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim", "attention_factor", "truncate",
         "mrope_section", "mrope_interleaved")
_DEEPSEEK = ("beta_fast", "beta_slow", "mscale", "mscale_all_dim")
KEYS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "default": ((), ("mrope_section", "mrope_interleaved", "use_fope")),
    "linear": (("factor",), ()),
    "ntk": (("factor",), ("mixed_b",)),
    "dynamic": ((), ("factor", "alpha", "max_trained_positions")),
    "llama3": (("factor", "low_freq_factor", "high_freq_factor"), ()),
    "yarn": ((), _YARN),
    "deepseek_yarn": (("factor",), _DEEPSEEK),
    "deepseek_llama_scaling": (("factor",), _DEEPSEEK),
    "longrope": (("short_factor", "long_factor"), ("factor", "attention_factor", "short_mscale", "long_mscale")),
    "proportional": ((), ("factor",)),
    "mllama4": (("factor", "low_freq_factor", "high_freq_factor"), ()),
    "openpangu": ((), ("mrope_section", "mrope_interleaved")),
    "xdrope": (("alpha",), ("xdrope_section", "factor", *_DEEPSEEK)),
}
# Types whose factor, if missing, is max_position_embeddings / original_max_position_embeddings.
_FACTOR_FROM_LENGTHS = frozenset({"yarn", "longrope"})
# Types that use the length the model was trained on, original_max_position_embeddings.
_HAS_ORIGINAL = frozenset({"dynamic", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "longrope",
                           "mllama4"})
_LISTS = frozenset({"short_factor", "long_factor"})
_SECTIONS = frozenset({"mrope_section", "xdrope_section"})
_BOOLS = frozenset({"truncate", "use_fope", "mrope_interleaved"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RopeParameters:
    """One set of rotary parameters. None: not given, and not needed for this type.

    original_max_position_embeddings: the trained length in tokens, for the types of _HAS_ORIGINAL.
    """

    rope_type: str
    rope_theta: float | None = None
    partial_rotary_factor: float | None = None
    original_max_position_embeddings: int | None = None
    factor: float | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    attention_factor: float | None = None
    truncate: bool | None = None
    short_factor: tuple[float, ...] | None = None
    long_factor: tuple[float, ...] | None = None
    short_mscale: float | None = None
    long_mscale: float | None = None
    mixed_b: float | None = None
    alpha: float | None = None
    max_trained_positions: int | None = None
    mrope_section: tuple[int, ...] | None = None
    xdrope_section: tuple[int, ...] | None = None
    mrope_interleaved: bool | None = None
    use_fope: bool | None = None


_NAMES = frozenset({f.name for f in fields(RopeParameters)} | {"type"})


@dataclass(frozen=True, slots=True)
class NormalisedRope:
    """The rotary parameters of a config in one spelling.

    values: the content of `rope_parameters`. moves: {dotted key in values: the config's key it comes from}, where they
    differ; the key "" stands for the whole dictionary. consumed: keys of the config that `rope_parameters` replaces.
    """

    values: dict[str, Any]
    moves: dict[str, str]
    consumed: tuple[str, ...]


def normalise_rope(c: ConfigReader, *, is_whole: bool = True) -> NormalisedRope | None:
    """The rotary parameters of a config in one spelling; None when the config has none.

    A dictionary of dictionaries holds one set of parameters for each layer type; keys outside it go into every set.
    Values are not checked here; contradicting names are a ConfigError. Idempotent.
    is_whole: False for overrides, which may leave out keys that the config itself has.
    """
    name, given = _given(c)
    outside = {key: spelling for key, spellings in _OUTSIDE.items()
               if (spelling := next((s for s in spellings if c.has(s)), None))}
    if not given and not outside.keys() - {"original_max_position_embeddings"}:
        return None
    moves: dict[str, str] = {"": name} if given and name != NAME else {}
    if is_by_layer(given):
        values = {}
        for layer_type, entry in given.items():
            is_leaf = isinstance(entry, Mapping)
            values[layer_type] = _leaf(c, entry, f"{name}.{layer_type}.", outside, moves) if is_leaf else entry
    else:
        values = _leaf(c, given, f"{name}.", outside, moves)
    if is_whole:
        _check_sections(c, values, name)
    consumed = [spelling for spellings in _OUTSIDE.values() for spelling in spellings if c.is_given(spelling)]
    if c.is_given(_OLD_NAME) and (name == _OLD_NAME or not c.has(_OLD_NAME)):
        consumed.append(_OLD_NAME)
    if name == _OLD_NAME and c.has(NAME):
        kept = {key: value for key, value in c.dict(NAME).items() if key in _OUTSIDE and given.get(key) is None}
        values |= kept
        moves = {new: old for new, old in moves.items() if new not in kept}
    return NormalisedRope(values, moves, tuple(consumed))


def _given(c: ConfigReader) -> tuple[str, dict[str, Any]]:
    """(the key that holds the scaling, its value).

    If both keys are present, `rope_scaling` counts, as in Transformers 5: instructions for longer contexts tell users
    to add it. Keys that it lacks, such as the base, are taken from `rope_parameters`.
    """
    new, old = (dict(c.dict(name, default=None) or {}) for name in (NAME, _OLD_NAME))
    return (_OLD_NAME, old) if old and not is_by_layer(new) else (NAME, new) if c.has(NAME) else (_OLD_NAME, old)


def is_by_layer(values: Mapping[str, Any]) -> bool:
    """True for a dictionary that holds one set of parameters for each layer type."""
    return any(isinstance(value, Mapping) and key not in _NAMES for key, value in values.items())


def _leaf(c: ConfigReader, given: Mapping[str, Any], path: str, outside: Mapping[str, str],
          moves: dict[str, str]) -> dict[str, Any]:
    """One set of parameters. path: its place in the config, e.g. "rope_scaling.". Adds to `moves`."""
    name, _, layer = path.removesuffix(".").partition(".")
    target = f"{layer}." if layer else ""
    values: dict[str, Any] = {}
    renames = {"type": "rope_type"}
    if "xdrope" not in (given.get("type"), given.get("rope_type")):
        renames["xdrope_section"] = "mrope_section"
    for key, value in given.items():
        new = renames.get(key, key)
        if new != key and given.get(new) is not None:
            continue      # both names are present: the new one counts (`_rename_type` compares the two types)
        values[new] = value
        if name != NAME or new != key:
            moves[target + new] = path + key
    for key, spelling in outside.items():
        # If a key is both inside and outside, the one inside counts; for the trained length (Phi-3) the one outside.
        if values.get(key) is None or key == "original_max_position_embeddings":
            values[key] = c.value(spelling)
            moves[target + key] = spelling
    _rename_type(c, given, values, path)
    factor = values.get("factor")
    if given.get("type", given.get("rope_type")) == "telechat3-yarn" and values.get("attention_factor") is None \
            and _is_number(factor) and factor > 0:
        values["attention_factor"] = 0.07 * math.log(factor) + 1.0
        moves[target + "attention_factor"] = path + "factor"      # the key it was computed from
    return values


def _rename_type(c: ConfigReader, given: Mapping[str, Any], values: dict[str, Any], path: str) -> None:
    """Replace an old name of a rope type by the current one. ConfigError if `type` and `rope_type` differ."""
    old, new = given.get("type"), given.get("rope_type")
    if isinstance(old, str) and isinstance(new, str) and _ALIASES.get(old, old) != _ALIASES.get(new, new):
        raise c.error(f"{path}rope_type", new, f"the same as type = {old!r}", "They are two names of one key.")
    kind = values.get("rope_type")
    if not isinstance(kind, str):
        return
    values["rope_type"] = _ALIASES.get(kind, kind)
    if values["rope_type"] == "yarn" and values.get("short_factor") is not None:
        values["rope_type"] = "longrope"      # Phi-3's first configs called it yarn


def _check_sections(c: ConfigReader, values: Mapping[str, Any], name: str) -> None:
    given = c.dict(name, default=None) or {}
    if "mrope" in (given.get("type"), given.get("rope_type")) and values.get("mrope_section") is None:
        raise c.error(f"{name}.mrope_section", None, "a list of three numbers, because the type is mrope")


# Reading


def rope_reader(c: ConfigReader) -> ConfigReader | None:
    """The reader of the config's `rope_parameters`, in whatever spelling; None when the config has none."""

    def make() -> tuple[Mapping[str, Any], dict[str, str], tuple[str, ...]] | None:
        found = normalise_rope(c)
        if found is None:
            return None
        return found.values, {key: moved(c.source, c.path + old) for key, old in found.moves.items()}, found.consumed

    return c.derive(NAME, make)


def layer_types(c: ConfigReader) -> tuple[str, ...]:
    """The layer types that have separate sets of parameters; (): one set serves all layers."""
    values = (reader.all_values() if (reader := rope_reader(c)) else {})
    return tuple(key for key, value in values.items() if isinstance(value, Mapping) and key not in _NAMES)


def read_rope(c: ConfigReader, layer_type: str | None = None) -> RopeParameters | None:
    """The config's rotary parameters, or those of a layer type; None when there are none.

    ConfigError for an unknown rope type, a bad value, a missing key, and for a call without layer_type if the config
    has a set of parameters for each layer type. The error names the key as the file spells it.
    """
    p, nested = rope_reader(c), layer_types(c)
    if p is None:
        return None
    if nested:
        if layer_type is None:
            raise c.error(NAME, list(nested), "one set of parameters for all layers")
        if layer_type not in nested:
            return None
        p = p.sub(layer_type)
    kind = p.str("rope_type", default="default")
    if kind not in KEYS:
        raise p.error("rope_type", kind, f"one of {', '.join(KEYS)}")
    needed, optional = KEYS[kind]
    found: dict[str, Any] = {key: _value(p, key) for key in needed}
    found |= {key: _value(p, key, default=None) for key in optional}
    found |= {key: _value(p, key, default=None) for key in ("rope_theta", "partial_rotary_factor")}
    p.harmless("finetuned")      # records how the model was trained
    if kind in _HAS_ORIGINAL:
        found["original_max_position_embeddings"] = _original(c, p)
    else:
        p.harmless("original_max_position_embeddings")
    parameters = RopeParameters(rope_type=kind, **found | _factor(c, kind, found))
    _check(p, parameters)
    return parameters


def _factor(c: ConfigReader, kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    if kind not in _FACTOR_FROM_LENGTHS or found["factor"] is not None:
        return {}
    return {"factor": _max_position(c) / found["original_max_position_embeddings"]}


def _original(c: ConfigReader, p: ConfigReader) -> int:
    return p.positive("original_max_position_embeddings", default=None) or _max_position(c)


def _max_position(c: ConfigReader) -> int:
    longest = c.positive("max_position_embeddings", "n_positions", default=None)
    if longest is None:
        raise c.error("max_position_embeddings", None, "a length, because the rope scaling needs it")
    return longest


def _value(p: ConfigReader, key: str, **default: Any) -> Any:
    if key in _LISTS | _SECTIONS:
        values = p.list(key, **default)
        wanted = int if key in _SECTIONS else int | float
        if values is not None and not all(_is_number(v) and isinstance(v, wanted) and v > 0 for v in values):
            raise p.error(key, values, "whole numbers above 0" if wanted is int else "numbers above 0")
        return None if values is None else tuple(v if wanted is int else float(v) for v in values)
    if key in _BOOLS:
        return p.bool(key, **default)
    if key == "max_trained_positions":
        return p.positive(key, **default)
    if key in ("mscale", "mscale_all_dim"):
        return p.float(key, **default)
    return p.positive_float(key, **default)


def _check(p: ConfigReader, r: RopeParameters) -> None:
    if r.rope_type == "dynamic" and r.factor is None and r.alpha is None:
        raise p.error("factor", None, "a number above 0, or alpha", "The key is missing.")
    low, high = r.low_freq_factor, r.high_freq_factor
    if low is not None and high is not None and low > high:      # equal is allowed: Llama 4
        raise p.error("high_freq_factor", high, f"at least low_freq_factor = {low}")
    if r.partial_rotary_factor is not None and r.partial_rotary_factor > 1:
        raise p.error("partial_rotary_factor", r.partial_rotary_factor, "a number in (0, 1]")


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
