"""`MODEL_API`: the version of everything that code of others may rely on when it brings a model to weft.

The version covers `ModelRegistry`, the interfaces of `weft/models/interfaces*.py`, `weft.layers.public` and the views
that a model's constructor is given. A class, function or module states the version that it was written for in an
attribute `requires_model_api`; without the attribute any version will do.
"""

from __future__ import annotations

import sys
from typing import Any

from weft.errors import ConfigError

MODEL_API = 1
# What changed with each version, for the error of a plugin that was written for an older one.
CHANGES: dict[int, str] = {1: "the first version"}


def check_model_api(model: Any, name: str) -> None:
    """ConfigError if `model`, or the module that defines the model, asks for another version than MODEL_API."""
    module = sys.modules.get(getattr(model, "__module__", "") or "")
    wanted = getattr(model, "requires_model_api", getattr(module, "requires_model_api", MODEL_API))
    if wanted == MODEL_API:
        return
    if isinstance(wanted, int) and not isinstance(wanted, bool) and 1 <= wanted < MODEL_API:
        since = "; ".join(f"{version}: {CHANGES[version]}" for version in range(wanted + 1, MODEL_API + 1))
        hint = f"Changed since then: {since}. Adapt the model and set requires_model_api = {MODEL_API}."
    else:
        hint = f"This weft ends with version {MODEL_API} ({CHANGES[MODEL_API]}): install a newer weft."
    raise ConfigError("requires_model_api", wanted, expected=f"{MODEL_API}, the MODEL_API of this weft", source=name,
                      hint=hint)
