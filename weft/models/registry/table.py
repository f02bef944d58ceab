"""The table of architectures that vLLM knows or knew (`architectures.csv`), and vLLM's dictionaries as views of it.

A row is a fact about vLLM up to 0.33, not a claim about weft: `ModelRegistry.get_supported_archs` says what weft runs.
The columns: the name in a config.json; a group of GROUPS; a state of STATES; vLLM's module and class for it; and for a
dropped name the last version that had it, for one that only a plugin runs the plugin's address.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

GROUPS = ("text_generation", "multimodal", "embedding", "sequence_classification", "token_classification", "reward",
          "late_interaction", "speculative_decoding", "transformers_backend", "plugin", "other")
# In vLLM: a class of its own; through the Transformers backend; a class in earlier versions; by a plugin only.
STATES = ("native", "transformers", "dropped", "plugin")

Models = dict[str, tuple[str, str]]      # architecture -> (module, class)


@dataclass(frozen=True, slots=True)
class KnownArchitecture:
    """A row of the table. module and class_name are empty where nobody recorded them; note: see above."""

    name: str
    group: str
    state: str
    module: str
    class_name: str
    note: str


def _read() -> tuple[KnownArchitecture, ...]:
    text = (files("weft.models.registry") / "architectures.csv").read_text(encoding="utf-8")
    return tuple(KnownArchitecture(*row) for row in list(csv.reader(text.splitlines()))[1:])


def _view(groups: Iterable[str], states: Iterable[str] = ("native", "dropped")) -> Models:
    return {row.name: (row.module, row.class_name) for row in TABLE
            if row.group in groups and row.state in states and row.module}


TABLE = _read()
_TEXT_GENERATION_MODELS = _view(["text_generation"])
_EMBEDDING_MODELS = _view(["embedding"])
_SEQUENCE_CLASSIFICATION_MODELS = _view(["sequence_classification"])
_TOKEN_CLASSIFICATION_MODELS = _view(["token_classification"])
_REWARD_MODELS = _view(["reward"])
_LATE_INTERACTION_MODELS = _view(["late_interaction"])
_CROSS_ENCODER_MODELS = (_SEQUENCE_CLASSIFICATION_MODELS | _TOKEN_CLASSIFICATION_MODELS | _REWARD_MODELS
                         | _LATE_INTERACTION_MODELS)
_MULTIMODAL_MODELS = _view(["multimodal"])
_SPECULATIVE_DECODING_MODELS = _view(["speculative_decoding"])
_TRANSFORMERS_SUPPORTED_MODELS = _view(GROUPS, ["transformers"])
_TRANSFORMERS_BACKEND_MODELS = _view(["transformers_backend"])
_VLLM_MODELS = (_TEXT_GENERATION_MODELS | _EMBEDDING_MODELS | _CROSS_ENCODER_MODELS | _MULTIMODAL_MODELS
                | _SPECULATIVE_DECODING_MODELS | _TRANSFORMERS_SUPPORTED_MODELS | _TRANSFORMERS_BACKEND_MODELS)
_PREVIOUSLY_SUPPORTED_MODELS = {row.name: row.note for row in TABLE if row.state == "dropped"}   # -> last version
_OOT_SUPPORTED_MODELS = {row.name: row.note for row in TABLE if row.state == "plugin"}           # -> the plugin
