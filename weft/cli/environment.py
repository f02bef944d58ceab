"""Environment variables of weft: `WEFT_X`, else `VLLM_X`. A command-line option wins over its variable.

Functions take the environment as an argument: `main.py` and the commands pass `os.environ`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

from weft.config.isa import CPU_ISAS
from weft.config.log_format import LOG_FORMAT, LOG_TIME
from weft.errors import ConfigError, nearest

# Name -> meaning. Hugging Face's variables (HF_HOME, HF_TOKEN, HF_HUB_OFFLINE, HF_ENDPOINT) keep their names.
VARIABLES = {
    "API_KEY": "default of --api-key",
    "CACHE_ROOT": "the folder for what weft finds out once and keeps (~/.cache/weft)",
    "CPU_ISA": "default of --cpu-isa",
    "CPU_KVCACHE_SPACE": "default of --kv-cache-memory-bytes, in GiB",
    "LOGGING_LEVEL": "DEBUG, INFO, WARNING or ERROR (INFO; WARNING for run, chat and complete)",
    "PLUGINS": "default of --plugins, with commas between names; unset: all",
    "MODEL_REDIRECT_PATH": "a file that says which names mean which folders: a JSON object, or lines `name path`",
    "SERVER_DEV_MODE": "default of --dev-mode: 0 or 1",
    "USE_MODELSCOPE": "1: names that are no local path mean models of ModelScope",
    "VLLM_VERSION": "default of --vllm-version",
}
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def variable(name: str, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """(the variable's full name, its value); None if it is unset or empty."""
    for full in (f"WEFT_{name}", f"VLLM_{name}"):
        if environ.get(full):
            return full, environ[full]
    return None


def api_key(environ: Mapping[str, str]) -> str | None:
    """The API key, for clients and for servers; None if unset."""
    found = variable("API_KEY", environ)
    return found[1] if found else None


def cpu_isa(environ: Mapping[str, str]) -> str | None:
    """The highest instruction set (ISA level) that kernels may use; None if unset."""
    full, value = variable("CPU_ISA", environ) or ("", None)
    if value is not None and value not in CPU_ISAS:
        raise ConfigError(full, value, expected=f"one of {', '.join(CPU_ISAS)}", source="environment")
    return value


def kv_cache_memory_bytes(environ: Mapping[str, str]) -> int | None:
    """CPU_KVCACHE_SPACE (GiB) in bytes; None if 0 or unset: the memory plan decides."""
    found = variable("CPU_KVCACHE_SPACE", environ)
    return round(_number(*found) * 2 ** 30) or None if found else None


def plugins(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The names of the plugins to run; None if unset."""
    found = variable("PLUGINS", environ)
    return tuple(name.strip() for name in found[1].split(",") if name.strip()) if found else None


def vllm_version(environ: Mapping[str, str]) -> str | None:
    """What `vllm.__version__` is in files written for vLLM; None if WEFT_VLLM_VERSION is unset."""
    return environ.get("WEFT_VLLM_VERSION") or None


def server_dev_mode(environ: Mapping[str, str]) -> bool | None:
    """Whether the server has its development routes; None if unset."""
    found = variable("SERVER_DEV_MODE", environ)
    return None if found is None else _number(*found) != 0


def configure_logging(environ: Mapping[str, str], *, default: str = "INFO") -> None:
    """Log to stderr at LOGGING_LEVEL (unset: at `default`), and warn of unknown `WEFT_` variables."""
    full, value = variable("LOGGING_LEVEL", environ) or ("LOGGING_LEVEL", default)
    if value.upper() not in LEVELS:
        raise ConfigError(full, value, expected=f"one of {', '.join(LEVELS)}", source="environment")
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT, datefmt=LOG_TIME)
    logger = logging.getLogger("weft")
    logger.setLevel(value.upper())
    for name in sorted(environ):
        if name.startswith("WEFT_") and name[5:] not in VARIABLES:
            near = nearest(name[5:], VARIABLES)
            logger.warning("%s is no variable of weft and changes nothing%s", name,
                           f"; did you mean WEFT_{near[0]}?" if near else "")


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError as error:
        raise ConfigError(name, value, expected="a number", source="environment") from error
    if not 0 <= number < float("inf"):
        raise ConfigError(name, value, expected="a number of at least 0", source="environment")
    return number
