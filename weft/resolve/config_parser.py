"""The contract of a config parser: a class with one method, under the names that vLLM gives them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PretrainedConfig


class ConfigFormat(StrEnum):
    """The formats that weft has parsers for. AUTO: by the files that are there."""

    AUTO = "auto"
    HF = "hf"
    MISTRAL = "mistral"


class ConfigParserBase(ABC):
    """Reads a model's configuration out of its files. A new one is made for each config."""

    @abstractmethod
    def parse(self, model: str | Path, trust_remote_code: bool, revision: str | None = None,
              code_revision: str | None = None, **kwargs: Any) -> tuple[dict[str, Any], PretrainedConfig]:
        """(the values as the file has them, the config object) of a directory or hub id.

        Where the two differ the object counts; a value that only the object has is a default of its class.
        """
