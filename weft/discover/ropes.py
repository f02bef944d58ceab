"""The rotary positions that a config may mean: the calls of `rope` that a description may have, and their parts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from weft.architectures.reader import ConfigReader
from weft.architectures.rope import rope
from weft.architectures.rope_parameters import layer_types, rope_reader
from weft.architectures.spec import Rope
from weft.errors import WeftError

_SHARES = (0.25, 0.5, 0.75)          # of a head, where the config does not say


def rope_calls(c: ConfigReader) -> dict[str, Callable[[ConfigReader], Rope]]:
    """{call as a description has it: function of the config}, the plainest first."""
    found: dict[str, dict] = {"": {}}
    for key, value in c.all_values().items():
        if key in ("rotary_dim", "qk_rope_head_dim") or ("rotary" in key and "dim" in key):
            found[f'rotary_dim=c.positive("{key}")'] = {"rotary_dim": value}
    found |= {f"partial={share}": {"partial": share} for share in _SHARES}
    if not c.has("rope_theta"):
        found |= {f"theta={theta:g}": {"theta": theta} for theta in (5e5, 1e6)}
    types = layer_types(c) if rope_reader(c) is not None else ()
    per_type = {f'layer_type="{kind}"': {"layer_type": kind} for kind in types}
    named: dict[str, Callable[[ConfigReader], Rope]] = {}
    for text, values in (per_type or found).items():
        for extra, more in (("", {}), ("interleaved=True", {"interleaved": True})):
            words = ", ".join(word for word in ("c", text, extra) if word)
            named[f"rope({words})"] = _call(values | more)
    return named


def _call(values: dict) -> Callable[[ConfigReader], Rope]:
    def call(c: ConfigReader) -> Rope:
        return rope(c, **values)
    return call


def ropes(c: ConfigReader, head_dim: int) -> list[Rope]:
    """The rotary positions that fit a head, each once."""
    found = {}
    thetas = {x for value in c.all_values().values() if isinstance(value, list | tuple) for x in value
              if isinstance(x, float) and x > 1}
    for call in rope_calls(c).values():
        try:
            part = call(c)
        except WeftError:
            continue
        if part.rotary_dim <= head_dim:
            found |= dict.fromkeys((part, *(replace(part, theta=theta) for theta in thetas)))
    return list(found)
