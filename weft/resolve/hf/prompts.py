"""Reads what sentence-transformers does to texts: the prompts that it puts before them, and whether it lowers case."""

from __future__ import annotations

from pathlib import Path

from weft.errors import ConfigError
from weft.resolve.json_file import read_json_if_there

FILE = "config_sentence_transformers.json"
SENTENCE_CONFIG = "sentence_bert_config.json"


def read_prompts(directory: Path) -> dict[str, str]:
    """{name: text that comes before a text of that kind}; {} without the file. ConfigError for prompts of other types.
    """
    found = read_json_if_there(directory / FILE).get("prompts") or {}
    if not isinstance(found, dict) or not all(isinstance(text, str) for text in found.values()):
        raise ConfigError("prompts", found, expected="an object of texts", source=str(directory / FILE))
    return found


def default_prompt(directory: Path) -> str:
    """The text that sentence-transformers puts before texts of no named kind. ConfigError for a name without a text."""
    name, prompts = read_json_if_there(directory / FILE).get("default_prompt_name"), read_prompts(directory)
    if name is None:
        return ""
    if not isinstance(name, str) or name not in prompts:
        raise ConfigError("default_prompt_name", name, expected=f"null, or one of {', '.join(prompts) or 'no prompts'}",
                          source=str(directory / FILE))
    return prompts[name]


def lowers_case(directory: Path) -> bool:
    """Whether texts become lower case before the tokenizer reads them. ConfigError for a value that is no boolean."""
    found = read_json_if_there(directory / SENTENCE_CONFIG).get("do_lower_case", False)
    if not isinstance(found, bool):
        raise ConfigError("do_lower_case", found, expected="true or false", source=str(directory / SENTENCE_CONFIG))
    return found
