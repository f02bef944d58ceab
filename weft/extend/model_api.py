"""`MODEL_API`: the version of everything that code of others may rely on when it brings a model to weft.

The version covers `ModelRegistry`, the interfaces of `weft/models/interfaces*.py`, `weft.layers.public` and the views
that a model's constructor is given. A class, function or module states the version that it was written for in an
attribute `requires_model_api`; without the attribute any version will do. So may the module of a plugin.
"""

from __future__ import annotations

import sys
from typing import Any

from weft.errors import ConfigError

MODEL_API = 1
# Versions whose models and plugins still run; MODEL_API is the newest.
SUPPORTED = (1,)
# What changed with each version, for the error of a plugin that was written for one that does not run any more.
CHANGES: dict[int, str] = {1: "the first version"}


def check_model_api(model: Any, name: str) -> None:
    """ConfigError if `model`, or the module that defines it, asks for a version that this weft does not support.

    model: a class, a function, or the module itself, of a model or of a plugin.
    """
    module = sys.modules.get(getattr(model, "__module__", "") or "")
    wanted = getattr(model, "requires_model_api", getattr(module, "requires_model_api", MODEL_API))
    if wanted in SUPPORTED:
        return
    if wanted in CHANGES:
        since = "; ".join(f"{version}: {text}" for version, text in CHANGES.items() if version > wanted)
        hint = f"Changed since then: {since}. Adapt the model and set requires_model_api = {MODEL_API}."
    else:
        hint = f"This weft ends with version {MODEL_API} ({CHANGES[MODEL_API]}): install a newer weft."
    raise ConfigError("requires_model_api", wanted, source=name, hint=hint,
                      expected=f"{' or '.join(map(str, SUPPORTED))}, a MODEL_API that this weft supports")
