"""`refusal`: why an architecture does not run. Never known, known to vLLM and not here, or served by a plugin only."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from weft.architectures.suffixes import SUFFIXES, base_architecture, runner_and_convert
from weft.errors import ConfigError, NotBuiltError, nearest
from weft.models.registry.table import TABLE, KnownArchitecture

_WAYS = "Describe or program it in a file (docs/adding-a-model.md) and pass --model-file."
_ROWS = {row.name: row for row in TABLE}


def refusal(names: Sequence[str], supported: Collection[str], *, source: str = "") -> ConfigError:
    """The error for a config's `architectures`, none of which is in `supported`."""
    expected = f"one of the {len(supported)} that `weft models` lists"
    row = next((_ROWS[name] for name in names if name in _ROWS), None)
    if row is not None and row.state == "plugin":
        return NotBuiltError("architectures", list(names), expected=expected, source=source, hint=(
            f"weft has no code for {row.name}; in vLLM only a plugin serves it: {row.note}. Install a plugin that "
            f"registers {row.name}. {_WAYS}"))
    base = next((name for name in names if base_architecture(name, supported) != name), None)
    if base is not None:
        return _other_end(base, base_architecture(base, supported), names, expected, source)
    if row is not None:
        return NotBuiltError("architectures", list(names), expected=expected, source=source, hint=(
            f"{_vllm_words(row)} weft has no code for it. {_nearest(names, supported)}{_WAYS}"))
    return ConfigError("architectures", list(names), expected=expected, source=source, hint=(
        f"Neither weft nor vLLM knows it. {_nearest(names, {*supported, *_ROWS})}{_WAYS}"))


def _vllm_words(row: KnownArchitecture) -> str:
    if row.state == "dropped":
        return f"vLLM had {row.name} {f'until {row.note}' if row.note else 'once'} and dropped it;"
    return f"vLLM runs {row.name};"


def _other_end(name: str, base: str, names: Sequence[str], expected: str, source: str) -> ConfigError:
    runner, convert = runner_and_convert(name) or SUFFIXES["ForCausalLM"]
    return NotBuiltError("architectures", list(names), expected=expected, source=source, hint=(
        f"{name} is {base} with another end (runner {runner}, convert {convert}), for which weft has no code yet. "
        f"{_WAYS}"))


def _nearest(names: Sequence[str], known: Collection[str]) -> str:
    """`Nearest: A, B. ` with known names that look like one of `names`; empty if none does."""
    near = [found for name in names for found in nearest(name, known, count=3)]
    return f"Nearest: {', '.join(dict.fromkeys(near))}. " if near else ""
