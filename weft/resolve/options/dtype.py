"""The dtype a model runs in: the user's option, else the config's, else that of most weights, else float32."""

from __future__ import annotations

import logging
from pathlib import Path

from weft.config.engine_args import DTYPES
from weft.errors import ConfigError
from weft.resolve.config_file import HFConfig
from weft.resolve.safetensors_header import majority_dtype
from weft.resolve.stages import dtype_name

# Values of model_type whose activations exceed the range of float16.
NO_FLOAT16 = frozenset({"gemma2", "gemma3", "gemma3_text", "glm4"})

logger = logging.getLogger("weft")


def resolve_dtype(wanted: str, config: HFConfig, directory: Path) -> tuple[str, str]:
    """(dtype, where it comes from). A float32 checkpoint stays float32.

    ConfigError for a dtype that weft does not have, or that the model overflows.
    """
    dtype, source = (wanted, "option dtype") if wanted != "auto" else _automatic(config, directory)
    model_types = {config.values.get("model_type"), config.text.get("model_type")}
    if dtype == "float16" and (bad := next((t for t in model_types if isinstance(t, str) and t in NO_FLOAT16), None)):
        if wanted != "auto":
            raise ConfigError("dtype", wanted, expected="bfloat16 or float32",
                              hint=f"Activations of {bad} leave the range of float16.")
        logger.warning("dtype bfloat16 for a float16 checkpoint: activations of %s leave the range of float16.", bad)
        return "bfloat16", f"float16 in {source}, but model_type {bad} overflows it"
    return dtype, source


def _automatic(config: HFConfig, directory: Path) -> tuple[str, str]:
    for prefix, values in (("", config.values), (config.text_path, config.text)):
        for key in ("dtype", "torch_dtype"):
            if values.get(key) is not None:
                return _known(prefix + key, values[key], config), config.origins.get(prefix + key, prefix + key)
    found = majority_dtype(sorted(directory.glob("*.safetensors")))
    if found is not None:
        return found, "majority of the tensors"
    return "float32", "default: neither config nor safetensors say"


def _known(key: str, value: object, config: HFConfig) -> str:
    name = dtype_name(value) if isinstance(value, str) else value
    if name not in DTYPES:
        raise ConfigError(key, value, expected=f"one of {', '.join(DTYPES)}", source=config.source,
                          hint="Pass dtype to choose one.")
    return name
