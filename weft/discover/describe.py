"""`find_description`: the whole way from a class of Transformers to a description with its proof."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from weft.discover.no_part import NoPartError
from weft.discover.proof import Trial, failing_switches, prove
from weft.discover.search import Search
from weft.discover.source import Description
from weft.discover.tiny import class_defaults, class_named
from weft.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Finding:
    """A description that was found. text: of the Python file. trials: its proof. refused: {key: (the value that it
    needs, why another has no part)}. harmless: keys that change no number.
    """

    architecture: str
    text: str
    trials: tuple[Trial, ...]
    refused: Mapping[str, tuple[Any, NoPartError]]
    harmless: frozenset[str]

    @property
    def is_proven(self) -> bool:
        """Whether all trials hold, and more than one config could be tried."""
        return len({trial.changed for trial in self.trials}) > 1 and all(trial.holds for trial in self.trials)

    def proof(self) -> str:
        """The proof in lines."""
        lines = [trial.text() for trial in self.trials]
        lines += [f"{key} = {value!r} is needed: {error}" for key, (value, error) in self.refused.items()]
        word = "proven" if self.is_proven else "not proven"
        last = f"{self.architecture}: {word}, {len(self.trials)} trials in float32 against Transformers"
        return "\n".join([*lines, last])


def find_description(cls: Any, values: Mapping[str, Any]) -> Finding:
    """The description of a model class. values: a config of it, of any size.

    NoPartError names the submodule that no part of weft computes, and the nearest part.
    """
    search = Search(cls, values)
    search.run()
    text = Description(search).text()
    trials = prove(search, text)
    failing = failing_switches(search, text, trials)
    if failing:                                  # the description refuses what it cannot do, and is proven again
        for key in failing:
            search.refused[key] = (search.tiny[key], NoPartError(key, f"its value {search.accepted[key]!r}"))
        text = Description(search).text()
        trials = prove(search, text)
    return Finding(cls.__name__, text, tuple(trials), search.refused, frozenset(search.harmless))


def class_and_defaults(architecture: str) -> tuple[Any, dict[str, Any]]:
    """(Transformers' class, its config's own values). ConfigError when there is no such class for language models."""
    cls = class_named(architecture)
    if cls is None or getattr(cls, "config_class", None) is None:
        raise ConfigError("architecture", architecture, expected="a checkpoint's directory, or the name of a model "
                          "class of Transformers such as LlamaForCausalLM")
    values = class_defaults(cls)
    if not values:
        raise ConfigError("architecture", architecture, expected="a directory with a config.json",
                          hint=f"{cls.config_class.__name__} has no defaults for all of its values.")
    return cls, values
