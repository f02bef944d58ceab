"""Rotary positions from a config: `rope_parameters` (Transformers 5) or `rope_theta` and `rope_scaling` (before).

Each rope type reads exactly the keys it uses; an unknown type or a list of the wrong length is an error with its path.
"""

from __future__ import annotations

from weft.architectures import keys
from weft.architectures.spec import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    Rope,
    RopeScaling,
    YarnScaling,
)
from weft.resolve.reader import ConfigReader

ROPE_TYPES = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")

_NESTED = ("full_attention", "sliding_attention")   # rope_parameters may hold a dict for each type of layer
_ALIASES = {"su": "longrope"}                       # the first name of longrope, in Phi-3's first configs


def rope(c: ConfigReader, *, rotary_dim: int | None = None, theta: float = 10000.0, partial: float = 1.0,
         interleaved: bool = False, layer_type: str | None = None) -> Rope:
    """The config's rotary positions.

    rotary_dim: rotated numbers of each head; None: head_dim times the config's partial rotary factor.
    theta, partial: the family's base and partial rotary factor where the config gives none.
    layer_type: which entry counts where `rope_parameters` has one for each type of layer.
    ConfigError for an unknown rope type and for values that do not fit.
    """
    p = _parameters(c, layer_type)
    base = _either(c, p, ("rope_theta", "rotary_emb_base"), theta)
    part = _either(c, p, ("partial_rotary_factor", "rotary_pct", "rope_pct", "rotary_emb_fraction"), partial)
    if base <= 0:
        raise (p or c).error("rope_theta", base, "a number above 0")
    if not 0 < part <= 1:
        raise (p or c).error("partial_rotary_factor", part, "a number in (0, 1]")
    if rotary_dim is None:
        rotary_dim = int(keys.head_dim(c) * part)
    if rotary_dim < 2 or rotary_dim % 2:
        raise c.error("head_dim", keys.head_dim(c), f"an even number of rotated dimensions, not {rotary_dim}")
    scaling = None if p is None else _scaling(c, p, rotary_dim)
    return Rope(theta=base, rotary_dim=rotary_dim, interleaved=interleaved, scaling=scaling)


def has_layer_ropes(c: ConfigReader) -> bool:
    """True where `rope_parameters` has an entry for each type of layer."""
    given = c.dict("rope_parameters", default=None) or {}
    return any(name in given for name in _NESTED)


def _parameters(c: ConfigReader, layer_type: str | None) -> ConfigReader | None:
    name = "rope_parameters" if c.has("rope_parameters") else "rope_scaling"
    if not c.has(name):
        return None
    reader = c.sub(name)
    if not has_layer_ropes(c):
        return reader
    if layer_type is None:
        raise c.error(name, c.dict(name), "one set of parameters for all layers")
    return reader.sub(layer_type) if reader.has(layer_type) else None


def _either(c: ConfigReader, p: ConfigReader | None, names: tuple[str, ...], default: float) -> float:
    """The number inside the rope parameters, else the config's own under one of the names."""
    if p is not None and p.has(names[0]):
        c.harmless(*names)
        return p.float(names[0])
    return c.float(*names, default=default)


def _rope_type(p: ConfigReader) -> str:
    names = [p.str(key, default=None) for key in ("rope_type", "type")]
    kinds = list(dict.fromkeys(_ALIASES.get(name, name) for name in names if name is not None))
    if len(kinds) > 1:
        raise p.error("rope_type", names[0], f"the same as type = {names[1]!r}", "They are two names of one key.")
    kind = kinds[0] if kinds else "default"
    if kind == "yarn" and p.has("short_factor"):    # what Phi-3's first configs called longrope
        kind = "longrope"
    if kind not in ROPE_TYPES:
        raise p.error("rope_type" if names[0] else "type", kind, f"one of {', '.join(ROPE_TYPES)}")
    return kind


def _scaling(c: ConfigReader, p: ConfigReader, rotary_dim: int) -> RopeScaling | None:
    kind = _rope_type(p)
    if kind == "default":
        p.harmless("original_max_position_embeddings")
        c.harmless("original_max_position_embeddings")
        return None
    if kind == "linear":
        return LinearScaling(factor=_factor(p))
    if kind == "dynamic":
        return DynamicScaling(factor=_factor(p), original_max_position=_needed_max_position(c))
    if kind == "llama3":
        return _llama3(c, p)
    if kind == "yarn":
        return _yarn(c, p)
    return _longrope(c, p, rotary_dim)


def _llama3(c: ConfigReader, p: ConfigReader) -> Llama3Scaling:
    low, high = p.float("low_freq_factor"), p.float("high_freq_factor")
    if not 0 < low < high:
        raise p.error("high_freq_factor", high, f"more than low_freq_factor = {low}, both above 0")
    return Llama3Scaling(factor=_factor(p), low_freq_factor=low, high_freq_factor=high,
                         original_max_position=_original(c, p))


def _yarn(c: ConfigReader, p: ConfigReader) -> YarnScaling:
    original = _original(c, p)
    p.harmless("finetuned")
    return YarnScaling(
        factor=_factor(p) if p.has("factor") else _needed_max_position(c) / original,
        original_max_position=original,
        beta_fast=p.float("beta_fast", default=None) or 32.0,
        beta_slow=p.float("beta_slow", default=None) or 1.0,
        attention_factor=p.float("attention_factor", default=None),
        mscale=p.float("mscale", default=None),
        mscale_all_dim=p.float("mscale_all_dim", default=None),
        truncate=p.bool("truncate", default=True),
    )


def _longrope(c: ConfigReader, p: ConfigReader, rotary_dim: int) -> LongRopeScaling:
    original = _original(c, p)
    return LongRopeScaling(
        short_factor=_factors(p, "short_factor", rotary_dim),
        long_factor=_factors(p, "long_factor", rotary_dim),
        original_max_position=original,
        factor=_factor(p) if p.has("factor") else _needed_max_position(c) / original,
        attention_factor=p.float("attention_factor", default=None),
    )


def _factor(p: ConfigReader) -> float:
    factor = p.float("factor")
    if factor <= 0:
        raise p.error("factor", factor, "a number above 0")
    return factor


def _factors(p: ConfigReader, name: str, rotary_dim: int) -> tuple[float, ...]:
    values = p.list(name)
    if len(values) != rotary_dim // 2:
        raise p.error(name, values, f"{rotary_dim // 2} numbers, one for each frequency, not {len(values)}")
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and v > 0 for v in values):
        raise p.error(name, values, "numbers above 0")
    return tuple(float(v) for v in values)


def _original(c: ConfigReader, p: ConfigReader) -> int:
    """The trained length. The config's own key counts before the one inside (Phi-3 has both), as in Transformers."""
    inside = p.positive("original_max_position_embeddings", default=None)
    outside = c.positive("original_max_position_embeddings", default=None)
    return outside or inside or _needed_max_position(c)


def _needed_max_position(c: ConfigReader) -> int:
    longest = keys.max_position(c)
    if longest is None:
        raise c.error("max_position_embeddings", None, "a length, because the rope scaling needs it")
    return longest
