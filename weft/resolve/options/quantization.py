"""`find_quantization`: finds a model's quantization settings and checks them against the user's option.

Finds the settings' JSON object and its method; `checkpoint/quantization/` interprets the other keys, one file a method.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from weft.config.engine_config import QuantizationSettings
from weft.config.quantization_methods import AT_LOAD, GGUF, method_named
from weft.errors import ConfigError
from weft.resolve.config_file import HFConfig
from weft.resolve.files import ModelFiles
from weft.resolve.json_file import read_json

_KEYS = ("quantization_config", "compression_config")
# Files beside config.json that hold settings, and the method when they name none (ModelOpt's, AutoGPTQ's, AutoAWQ's).
MODELOPT_FILE = "hf_quant_config.json"
_FILES = {MODELOPT_FILE: "modelopt", "quantize_config.json": "gptq", "quant_config.json": "awq"}


def find_quantization(config: HFConfig, files: ModelFiles, wanted: str | None) -> QuantizationSettings | None:
    """The quantization settings of a checkpoint; None when its weights are floats or in a GGUF file.

    wanted: the option `quantization`, already checked to be a known name; quantizing at load accepts any checkpoint.
    ConfigError when option and checkpoint differ, or the checkpoint names no method; NotBuiltError for a method that
    weft cannot read.
    """
    if files.gguf is not None:
        if wanted in (None, GGUF, *AT_LOAD):
            return None
        raise ConfigError("quantization", wanted, expected=f"{GGUF!r}, as the file is, or nothing",
                          hint=f"{files.gguf} says so.")
    found = _in_config(config) or _in_files(files.directory)
    if wanted is None or wanted in AT_LOAD or (found is not None and wanted == found.method):
        return found
    if found is not None:
        raise ConfigError("quantization", wanted, expected=f"{found.method!r}, as the checkpoint's weights are, or "
                          "nothing", hint=f"{found.source} says so.")
    raise ConfigError("quantization", wanted, expected=f"nothing, or {' or '.join(AT_LOAD)} to quantize at load",
                      hint=f"{files.directory} says nowhere that its weights are quantized.")


def check_activation_dtype(wanted: str | None, quantization: str | None, found: QuantizationSettings | None,
                           files: ModelFiles) -> None:
    """ConfigError where activations of 8 bits are wanted for weights that stay floats.

    wanted, quantization: the options; found: the checkpoint's settings.
    """
    if wanted is None or files.gguf is not None or found is not None or quantization in AT_LOAD:
        return
    raise ConfigError("activation_dtype", wanted, expected="nothing for weights that are floats",
                      hint=f"{files.directory} says nowhere that its weights are quantized; quantization='w4a8' or "
                           "'w8a8' quantizes them at load.")


def _in_config(config: HFConfig) -> QuantizationSettings | None:
    for prefix, values in (("", config.values), (config.text_path, config.text)):
        for key in _KEYS:
            value = values.get(key)
            if not value:
                continue
            if not isinstance(value, Mapping):
                raise ConfigError(prefix + key, value, expected="an object", source=config.source)
            if key == "compression_config" and "quant_method" not in value:
                value = {"quant_method": "compressed-tensors", **value}
            return _settings(value, config.source, f"{prefix}{key}.", default=None)
    return None


def _in_files(directory: Path) -> QuantizationSettings | None:
    for name, method in _FILES.items():
        file = directory / name
        if not file.exists():
            continue
        values = read_json(file)
        if name == MODELOPT_FILE:
            values = _of_modelopt(values, str(file))
            return _settings(values, str(file), "quantization.", default=method) if values else None
        return _settings(values, str(file), "", default=method)
    return None


def _of_modelopt(values: Mapping[str, Any], source: str) -> Mapping[str, Any] | None:
    """The settings inside ModelOpt's file; None when they say that nothing is quantized."""
    inner = values.get("quantization")
    if not isinstance(inner, Mapping):
        raise ConfigError("quantization", inner, expected="an object", source=source)
    return inner if inner.get("quant_algo") is not None else None


def _settings(values: Mapping[str, Any], source: str, path: str, *, default: str | None) -> QuantizationSettings:
    name = values.get("quant_method") or values.get("method") or default
    if name is None and (values.get("load_in_8bit") or values.get("load_in_4bit")):
        name = "bitsandbytes"       # Transformers before 4.32 wrote no method
    method = method_named(name, field=f"{path}quant_method", source=source)
    return QuantizationSettings(method=method, values=dict(values), source=source, path=path)
