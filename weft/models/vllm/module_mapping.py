"""`MultiModelKeys`: which submodules of a model with media are its language model, its connector and its towers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class ModelKeys:
    """model_type: the config's."""

    model_type: str | None = None


@dataclass
class MultiModelKeys(ModelKeys):
    """Prefixes of submodules' names, by their role."""

    language_model: list[str] = field(default_factory=list)
    connector: list[str] = field(default_factory=list)
    tower_model: list[str] = field(default_factory=list)
    generator: list[str] = field(default_factory=list)

    @staticmethod
    def from_string_field(language_model: str | list[str] | None = None, connector: str | list[str] | None = None,
                          tower_model: str | list[str] | None = None, generator: str | list[str] | None = None,
                          **other: str) -> MultiModelKeys:
        """Each role by one name, by several, or by none."""
        return MultiModelKeys(language_model=_listed(language_model), connector=_listed(connector),
                              tower_model=_listed(tower_model), generator=_listed(generator), **other)


def _listed(names: str | list[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])
