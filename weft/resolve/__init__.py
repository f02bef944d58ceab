"""From a model's name to its files and one normalised config.

The names below are public. A name's module is imported when the name is first used, so importing this package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weft.resolve.config_object import get_config, patch_rope_parameters
    from weft.resolve.config_parser import ConfigFormat, ConfigParserBase
    from weft.resolve.fixups import VerifyAndUpdateConfig
    from weft.resolve.gguf.config import maybe_patch_hf_config_from_gguf
    from weft.resolve.gguf.files import (
        check_gguf_file,
        is_gguf,
        is_remote_gguf,
        is_valid_gguf_quant_type,
        split_remote_gguf,
    )
    from weft.resolve.hf.classes import LazyConfigDict
    from weft.resolve.mistral.parser import adapt_config_dict
    from weft.resolve.options.overrides import HfOverrides
    from weft.resolve.parsers import get_config_parser, register_config_parser
    from weft.resolve.repo_files import file_or_path_exists, get_hf_file_to_dict, list_repo_files, try_get_local_file

_HOMES = {
    "ConfigFormat": "config_parser",
    "ConfigParserBase": "config_parser",
    "HfOverrides": "options.overrides",
    "LazyConfigDict": "hf.classes",
    "VerifyAndUpdateConfig": "fixups",
    "adapt_config_dict": "mistral.parser",
    "check_gguf_file": "gguf.files",
    "file_or_path_exists": "repo_files",
    "get_config": "config_object",
    "get_config_parser": "parsers",
    "get_hf_file_to_dict": "repo_files",
    "is_gguf": "gguf.files",
    "is_remote_gguf": "gguf.files",
    "is_valid_gguf_quant_type": "gguf.files",
    "list_repo_files": "repo_files",
    "maybe_patch_hf_config_from_gguf": "gguf.config",
    "patch_rope_parameters": "config_object",
    "register_config_parser": "parsers",
    "split_remote_gguf": "gguf.files",
    "try_get_local_file": "repo_files",
}
__all__ = [  # the names of _HOMES, which a test compares; written out for type checkers
    "ConfigFormat", "ConfigParserBase", "HfOverrides", "LazyConfigDict", "VerifyAndUpdateConfig", "adapt_config_dict",
    "check_gguf_file", "file_or_path_exists", "get_config", "get_config_parser", "get_hf_file_to_dict", "is_gguf",
    "is_remote_gguf", "is_valid_gguf_quant_type", "list_repo_files", "maybe_patch_hf_config_from_gguf",
    "patch_rope_parameters", "register_config_parser", "split_remote_gguf", "try_get_local_file",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
