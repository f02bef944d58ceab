"""Mistral's own config format (params.json): recognised and chosen, but not read yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from weft.errors import NotBuiltError
from weft.resolve.config_parser import ConfigParserBase

# False: where a directory has both formats, the other one is taken.
IS_BUILT = False


class MistralConfigParser(ConfigParserBase):
    """params.json. Not built: says so."""

    def parse(self, model: str | Path, trust_remote_code: bool, revision: str | None = None,
              code_revision: str | None = None, **kwargs: Any) -> tuple[dict[str, Any], Any]:
        """NotBuiltError."""
        raise not_built(str(model))


def adapt_config_dict(config_dict: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
    """NotBuiltError: the mapping from params.json to a config of Transformers."""
    raise not_built("params.json")


def not_built(model: str) -> NotBuiltError:
    """What to do instead."""
    return NotBuiltError("config_format", "mistral", expected="hf", source=model, hint="weft does not read Mistral's "
                         "own format (params.json) yet: take the Hugging Face one (config.json).")
