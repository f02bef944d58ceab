"""From a model's name to its files and one normalised config. The names below are public; each loads its module."""

from importlib import import_module
from typing import Any

_HOMES = {
    "ConfigFormat": "config_parser", "ConfigParserBase": "config_parser", "HfOverrides": "overrides",
    "LazyConfigDict": "config_classes", "VerifyAndUpdateConfig": "fixups", "adapt_config_dict": "mistral_parser",
    "file_or_path_exists": "repo_files", "get_config": "config_object", "get_config_parser": "parsers",
    "get_hf_file_to_dict": "repo_files", "list_repo_files": "repo_files", "patch_rope_parameters": "config_object",
    "register_config_parser": "parsers", "try_get_local_file": "repo_files",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
