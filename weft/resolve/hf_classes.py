"""Config objects: the class of a model_type, from Transformers, from a recipe of weft's own or from the checkpoint.

Everything here imports Transformers when it is called, so it is called only where an object is needed: by `get_config`,
for overrides that are functions, and for code that comes with a checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from weft.errors import ConfigError
from weft.resolve.config_classes import CONFIG_REGISTRY, RECIPES, ConfigRecipe
from weft.resolve.stages import Values, fill_in, rename_keys

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# Keywords that some classes need when they are made without a model's code.
_KEYWORDS: dict[str, dict[str, Any]] = {
    "internvl_chat": {"has_no_defaults_at_init": True}, "NVLM_D": {"has_no_defaults_at_init": True},
    "Llama_Nemotron_Nano_VL": {"attn_implementation": "eager"},
}
_NESTED = ("text_config", "language_config", "vision_config", "audio_config", "projector_config")


class RemoteCodeError(ConfigError, RuntimeError):
    """The config's class is code of the checkpoint, and nobody said that it may run."""


def auto_config_keywords(model_type: str | None) -> dict[str, Any]:
    """What `from_dict` of this model_type's class is called with besides the values."""
    return dict(_KEYWORDS.get(model_type or "", {}))


def class_named(name: str, model_type: str) -> type[PretrainedConfig]:
    """The class of Transformers where it has one of this name, else weft's own."""
    import transformers

    found = getattr(transformers, name, None)
    return found if isinstance(found, type) else _own_class(RECIPES.get(name) or ConfigRecipe(name=name), model_type)


def class_of(values: Mapping[str, Any], model: str, *, trust_remote_code: bool = False, revision: str | None = None,
             code_revision: str | None = None) -> type[PretrainedConfig]:
    """The class for a config's model_type: of the table, of Transformers, or of the checkpoint if it is trusted.

    RemoteCodeError when only the checkpoint has it and it is not trusted; ConfigError when nobody has one.
    """
    model_type = values.get("model_type")
    if model_type in CONFIG_REGISTRY:
        return CONFIG_REGISTRY[model_type]
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type in CONFIG_MAPPING:
        return CONFIG_MAPPING[model_type]
    reference = remote_class(values)
    if reference is None:
        raise ConfigError("model_type", model_type, expected="a model_type that Transformers or weft has a class for",
                          source=model, hint="Pass hf_overrides={\"model_type\": ...} where a known one fits.")
    if not trust_remote_code:
        raise RemoteCodeError("auto_map.AutoConfig", reference, source=model, expected="code that you trust",
                              hint=f"model_type {model_type!r} needs it: look at it, then pass trust_remote_code=True "
                              "or --trust-remote-code.")
    return _load_remote(reference, model, revision=revision, code_revision=code_revision)


def remote_class(values: Mapping[str, Any]) -> str | None:
    """The name of the config class that comes with the checkpoint."""
    auto_map = values.get("auto_map")
    found = auto_map.get("AutoConfig") if isinstance(auto_map, Mapping) else None
    return found if isinstance(found, str) else None


def build_config(values: Mapping[str, Any], cls: type[PretrainedConfig], source: str) -> PretrainedConfig:
    """The config object. ConfigError when the class does not take the values."""
    try:
        return cls.from_dict(dict(values), **auto_config_keywords(values.get("model_type")))
    except Exception as error:
        raise ConfigError("config", cls.__name__, expected="values that the class takes", source=source,
                          hint=f"{type(error).__name__}: {error}") from error


def plain_config(values: Mapping[str, Any], source: str) -> PretrainedConfig:
    """An object with the values as attributes and nothing else, for a model_type that nobody has a class for."""
    cls = _own_class(ConfigRecipe(name="PretrainedConfig"), values.get("model_type") or "")
    return build_config(values, cls, source)


def _load_remote(reference: str, model: str, *, revision: str | None, code_revision: str | None) -> type:
    from transformers.dynamic_module_utils import get_class_from_dynamic_module

    try:
        found = get_class_from_dynamic_module(reference, model, revision=revision, code_revision=code_revision)
        found.register_for_auto_class()
    except Exception as error:
        raise ConfigError("auto_map.AutoConfig", reference, expected="a config class that can be imported",
                          source=model, hint=f"{type(error).__name__}: {error}") from error
    return found


def _own_class(recipe: ConfigRecipe, model_type: str) -> type[PretrainedConfig]:
    from transformers import PretrainedConfig

    def __init__(self: PretrainedConfig, **values: Any) -> None:
        found = fill_in(rename_keys(Values(values), recipe, recipe.name), recipe).values
        for key in _NESTED:
            if isinstance(found.get(key), Mapping):
                found[key] = _nested(found[key], recipe.name)
        PretrainedConfig.__init__(self, **found)

    return type(recipe.name, (PretrainedConfig,), {
        "model_type": model_type, "__init__": __init__, "__module__": __name__, "__doc__": f"weft's {recipe.name}.",
        "has_no_defaults_at_init": not recipe.defaults,
    })


def _nested(values: Mapping[str, Any], source: str) -> PretrainedConfig:
    try:
        cls = class_of(values, source)
    except ConfigError:      # an encoder that has no class: its values are all that is known
        return plain_config(values, source)
    return build_config(values, cls, source)
