"""The contract of a config parser: a class with one method, `parse`. All names are vLLM's.

`parsers.py` keeps the table of parsers; plugins and users' files may add to it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class ConfigFormat(StrEnum):
    """The config formats that weft has parsers for. AUTO: chosen from the files that are present."""

    AUTO = "auto"
    HF = "hf"
    MISTRAL = "mistral"


class ConfigParserBase(ABC):
    """Reads a model's configuration from its files. Each config gets a new parser object."""

    @abstractmethod
    def parse(self, model: str | Path, trust_remote_code: bool, revision: str | None = None,
              code_revision: str | None = None, **kwargs: Any) -> tuple[dict[str, Any], PretrainedConfig]:
        """(the file's own values, the config object) of a directory or hub id.

        Where the two differ, the object's value is used. A value that only the object has is a default of its class.
        """
