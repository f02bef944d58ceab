"""The table of config parsers by format name: weft's own, those of plugins, and those of a user's file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from weft.errors import ConfigError, did_you_mean
from weft.extend.python_file import load_python_file
from weft.resolve.config_parser import ConfigFormat, ConfigParserBase
from weft.resolve.hf.parser import HFConfigParser
from weft.resolve.mistral.parser import MistralConfigParser

# The table has vLLM's name, because plugins may use it. It is filled when modules are imported.
_CONFIG_FORMAT_TO_CONFIG_PARSER: dict[str, type[ConfigParserBase]] = {
    ConfigFormat.HF.value: HFConfigParser,
    ConfigFormat.MISTRAL.value: MistralConfigParser,
}

logger = logging.getLogger("weft")


def register_config_parser(config_format: str) -> Callable[[type[ConfigParserBase]], type[ConfigParserBase]]:
    """Class decorator that registers the parser of a format: `@register_config_parser("mine")`.

    Replacing a registered parser logs a warning. ValueError for a class that is no ConfigParserBase, and for `auto`,
    which is no format.
    """

    def register(parser: type[ConfigParserBase]) -> type[ConfigParserBase]:
        if not (isinstance(parser, type) and issubclass(parser, ConfigParserBase)):
            raise ValueError(f"a config parser is a subclass of ConfigParserBase, which {parser!r} is not")
        if config_format == ConfigFormat.AUTO:
            raise ValueError("auto is no config format: it chooses one by the files that are there")
        if _CONFIG_FORMAT_TO_CONFIG_PARSER.get(config_format) not in (None, parser):
            logger.warning("config format %s had a parser already: %s takes its place", config_format, parser.__name__)
        _CONFIG_FORMAT_TO_CONFIG_PARSER[config_format] = parser
        return parser

    return register


def get_config_parser(config_format: str) -> ConfigParserBase:
    """A new parser object for a format. ConfigError for an unknown format; the error lists the known ones."""
    known = _CONFIG_FORMAT_TO_CONFIG_PARSER
    if config_format not in known:
        hint = f"{did_you_mean(config_format, known)} config_parser_file adds one from a Python file.".lstrip()
        raise ConfigError("config_format", str(config_format), expected=f"auto, {', '.join(known)}", hint=hint)
    return known[config_format]()


def parsers_of_file(path: str) -> tuple[str, ...]:
    """Run a Python file that registers parsers. Returns the formats it registers.

    ConfigError when the file does not run or registers none.
    """
    module = load_python_file(Path(path), field="config_parser_file")
    found = tuple(name for name, parser in _CONFIG_FORMAT_TO_CONFIG_PARSER.items()
                  if parser.__module__ == module.__name__)
    if not found:
        raise ConfigError("config_parser_file", path, expected='a file with a class marked '
                          '@register_config_parser("name")', hint="docs/configuration.md shows one.")
    return found
