"""Rotary positions of a model: the `RopeParameters` of a config and a head size make a `Rope` part."""

from __future__ import annotations

from typing import TypeVar

from weft.architectures import keys
from weft.architectures.reader import ConfigReader
from weft.architectures.rope_parameters import RopeParameters, layer_types, read_rope, rope_reader
from weft.architectures.spec import (
    DynamicScaling,
    LinearScaling,
    Llama3Scaling,
    LongRopeScaling,
    NTKAlphaScaling,
    NTKScaling,
    ProportionalScaling,
    Rope,
    RopeScaling,
    YarnScaling,
)
from weft.errors import NotBuiltError

T = TypeVar("T")
# Types of `architectures/rope_parameters.py` that `layers/rope.py` computes.
ROPE_TYPES = ("default", "linear", "ntk", "dynamic", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling",
              "longrope", "proportional")


def rope(c: ConfigReader, *, rotary_dim: int | None = None, head_dim: int | None = None, theta: float = 10000.0,
         partial: float = 1.0, interleaved: bool = False, layer_type: str | None = None) -> Rope:
    """The config's rotary positions.

    rotary_dim: number of rotated values in each head; None: head_dim times the partial rotary factor.
    head_dim: size of a head; None: the config's.
    theta, partial: the family's defaults for the base and the partial rotary factor.
    layer_type: the entry to use if `rope_parameters` has one for each layer type.
    ConfigError for an unknown rope type and for values that do not fit; NotBuiltError for a type without code.
    """
    p = read_rope(c, layer_type)
    base, part = p and p.rope_theta, p and p.partial_rotary_factor
    if base is None:
        base = c.float("rope_theta", default=theta)
    if part is None:
        part = c.float("partial_rotary_factor", default=partial)
    if not 0 < part <= 1 + 1e-6:
        raise c.error("partial_rotary_factor", part, "a number above 0 and at most 1")
    is_proportional = p is not None and p.rope_type == "proportional"
    if is_proportional:      # part of a head turns, in the pairs of the whole head
        rotary_dim = head_dim or keys.head_dim(c)
    if rotary_dim is None:
        rotary_dim = int((head_dim or keys.head_dim(c)) * part)
    if rotary_dim < 2 or rotary_dim % 2:
        raise c.error("head_dim", keys.head_dim(c), f"an even number of rotated dimensions, not {rotary_dim}")
    if p is None:
        scaling = None
    elif is_proportional:
        scaling = ProportionalScaling(rotated=int(rotary_dim * part // 2) * 2, factor=p.factor or 1.0)
    else:
        scaling = _scaling(c, p, rotary_dim, layer_type)
    return Rope(theta=base, rotary_dim=rotary_dim, interleaved=interleaved, scaling=scaling)


def has_layer_ropes(c: ConfigReader) -> bool:
    """True if `rope_parameters` has one entry for each layer type."""
    return bool(layer_types(c))


def _scaling(c: ConfigReader, p: RopeParameters, rotary_dim: int, layer_type: str | None) -> RopeScaling | None:
    match p.rope_type:
        case "default" if not p.use_fope:   # mrope too: all its sections have the same position in text: plain rope
            return None
        case "linear":
            return LinearScaling(factor=_given(p.factor))
        case "ntk":
            return NTKScaling(factor=_given(p.factor), mixed_b=p.mixed_b)
        case "dynamic" if p.alpha is not None:
            return NTKAlphaScaling(alpha=p.alpha)
        case "dynamic":
            return DynamicScaling(factor=_given(p.factor), original_max_position=p.max_trained_positions
                                  or _max_position(c))
        case "llama3":
            return Llama3Scaling(factor=_given(p.factor), low_freq_factor=_given(p.low_freq_factor),
                                 high_freq_factor=_given(p.high_freq_factor),
                                 original_max_position=_given(p.original_max_position_embeddings))
        case "yarn" | "deepseek_yarn" | "deepseek_llama_scaling":     # `deepseek.py` applies DeepSeek's extra factor
            return _yarn(p)
        case "longrope":
            return _longrope(c, p, rotary_dim, layer_type)
        case _:
            error = _entry(c, layer_type).error("rope_type", p.rope_type, "")
            raise NotBuiltError(error.field, p.rope_type, expected=f"one of {', '.join(ROPE_TYPES)}",
                                source=c.source, hint="weft has no code for this type, or for a key of it.")


def _yarn(p: RopeParameters) -> YarnScaling:
    return YarnScaling(
        factor=_given(p.factor), original_max_position=_given(p.original_max_position_embeddings),
        beta_fast=p.beta_fast or 32.0, beta_slow=p.beta_slow or 1.0, attention_factor=p.attention_factor,
        mscale=p.mscale, mscale_all_dim=p.mscale_all_dim, truncate=True if p.truncate is None else p.truncate,
    )


def _longrope(c: ConfigReader, p: RopeParameters, rotary_dim: int, layer_type: str | None) -> LongRopeScaling:
    short, long = _given(p.short_factor), _given(p.long_factor)
    for name, values in (("short_factor", short), ("long_factor", long)):
        if len(values) != rotary_dim // 2:
            raise _entry(c, layer_type).error(name, list(values), f"{rotary_dim // 2} numbers, one for each "
                                              f"frequency, not {len(values)}")
    return LongRopeScaling(short_factor=short, long_factor=long,
                           original_max_position=_given(p.original_max_position_embeddings), factor=p.factor,
                           attention_factor=p.attention_factor, short_mscale=p.short_mscale,
                           long_mscale=p.long_mscale)


def _entry(c: ConfigReader, layer_type: str | None) -> ConfigReader:
    reader = _given(rope_reader(c))
    return reader.sub(layer_type) if layer_type in layer_types(c) else reader


def _given(value: T | None) -> T:
    """`value`, which is never None here: `read_rope` refuses a config of this rope type without it."""
    assert value is not None
    return value


def _max_position(c: ConfigReader) -> int:
    longest = keys.max_position(c)
    if longest is None:
        raise c.error("max_position_embeddings", None, "a length, because the rope scaling needs it")
    return longest
