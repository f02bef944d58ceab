"""Reads what sentence-transformers puts before texts: the prompts in config_sentence_transformers.json."""

from __future__ import annotations

from pathlib import Path

from weft.errors import ConfigError
from weft.resolve.json_file import read_json_if_there

FILE = "config_sentence_transformers.json"


def read_prompts(directory: Path) -> dict[str, str]:
    """{name: text that comes before a text of that kind}; {} without the file. ConfigError for prompts of other types.
    """
    found = read_json_if_there(directory / FILE).get("prompts") or {}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ConfigError("prompts", found, expected="an object of texts", source=str(directory / FILE))
    return found
