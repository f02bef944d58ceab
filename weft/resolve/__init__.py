"""From a model's name to its files and one normalised config. The names below are public; each loads its module."""

from importlib import import_module
from typing import Any

_HOMES = {
    "ConfigFormat": "config_parser",
    "ConfigParserBase": "config_parser",
    "HfOverrides": "overrides",
    "LazyConfigDict": "hf_classes",
    "VerifyAndUpdateConfig": "fixups",
    "adapt_config_dict": "mistral_parser",
    "check_gguf_file": "gguf_files",
    "file_or_path_exists": "repo_files",
    "get_config": "config_object",
    "get_config_parser": "parsers",
    "get_hf_file_to_dict": "repo_files",
    "is_gguf": "gguf_files",
    "is_remote_gguf": "gguf_files",
    "is_valid_gguf_quant_type": "gguf_files",
    "list_repo_files": "repo_files",
    "maybe_patch_hf_config_from_gguf": "gguf_config",
    "patch_rope_parameters": "config_object",
    "register_config_parser": "parsers",
    "split_remote_gguf": "gguf_files",
    "try_get_local_file": "repo_files",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
