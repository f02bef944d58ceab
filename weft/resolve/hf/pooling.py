"""Reads how a sentence-transformers checkpoint pools a prompt into one vector: modules.json and its pooling's config.

Knows no architecture; a model without these files gets its family's pooling.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weft.architectures.spec import PoolerSpec, SeqPooling
from weft.errors import ConfigError, NotBuiltError
from weft.resolve.json_file import read_json, read_json_list

MODULES = "modules.json"
_KINDS: dict[str, SeqPooling] = {
    "pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last"}
_PREFIX = "pooling_mode_"


def read_pooling(directory: Path) -> PoolerSpec | None:
    """The pooling that the files name; None without such files. NotBuiltError for modules or modes without code."""
    path = directory / MODULES
    if not path.is_file():
        return None
    modules = read_json_list(path)
    pooling, normalize = None, False
    for i, module in enumerate(modules):
        name = str(module.get("type", "") if isinstance(module, dict) else module).rpartition(".")[2]
        match name:
            case "Transformer":
                pass
            case "Pooling":
                pooling = directory / str(module.get("path", "")) / "config.json"
            case "Normalize":
                normalize = True
            case _:
                raise NotBuiltError(f"[{i}].type", name, expected="Transformer, Pooling or Normalize",
                                    hint="weft has no code for it yet.", source=str(path))
    if pooling is None:
        return None
    return PoolerSpec(pooling=_kind(read_json(pooling), pooling), normalize=normalize)


def _kind(config: dict[str, Any], path: Path) -> SeqPooling:
    """The pooling mode. Newer files name it; older ones have a flag for each mode, one of which must be true."""
    named = config.get("pooling_mode")
    if named is not None:
        on = [f"{_PREFIX}{named}", f"{_PREFIX}{named}_token", f"{_PREFIX}{named}_tokens"]
        kind: SeqPooling | None = next((_KINDS[name] for name in on if name in _KINDS), None)
        if kind is None:
            raise NotBuiltError("pooling_mode", named, expected="cls, mean or lasttoken", source=str(path),
                                hint="weft has no code for it yet.")
        return kind
    on = [name for name, value in config.items() if name.startswith(_PREFIX) and value is True]
    if len(on) != 1:
        raise ConfigError(_PREFIX + "*", on, expected="one mode that is true", source=str(path))
    if on[0] not in _KINDS:
        raise NotBuiltError(on[0], True, expected="false", hint="weft has no code for this pooling yet.",
                            source=str(path))
    return _KINDS[on[0]]
