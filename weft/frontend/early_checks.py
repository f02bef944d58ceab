"""`check_before_load`: refuses options that are otherwise looked up only once a model is loaded.

Both faces call this as soon as options are resolved; plugins, which may register parsers, have run by then.
"""

from __future__ import annotations

from weft.config.engine_config import EngineConfig
from weft.text.chat import check_chat_template
from weft.text.parsing.parsers import check_parser_names


def check_before_load(config: EngineConfig) -> None:
    """ConfigError for a parser that nobody has registered, and for a chat template that cannot be parsed."""
    check_parser_names(reasoning=config.model.reasoning_parser)
    if config.tokenizer.path is not None and config.tokenizer.chat_template is not None:
        check_chat_template(config.tokenizer.chat_template)
