"""Config classes by model_type, from Transformers, from weft's recipes or from the checkpoint; and their objects.

Functions that need a class import Transformers when they are called. So they are called only by `get_config`, for
override functions, and for code that comes with a checkpoint. `recipe_of` and `CONFIG_REGISTRY.name_of` import nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from weft.architectures.reader import ConfigReader
from weft.config.frozen import thaw
from weft.errors import ConfigError
from weft.resolve.hf.complaint import complaint
from weft.resolve.hf.recipes import RECIPES, ConfigRecipe
from weft.resolve.hf.remote_code import load_remote_class
from weft.resolve.repo_files import get_hf_file_to_dict
from weft.resolve.stages import Values, fill_in, rename_keys

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# model_type -> keywords that the class needs when an object is made without the model's code.
_KEYWORDS: dict[str, dict[str, Any]] = {
    "internvl_chat": {"has_no_defaults_at_init": True}, "NVLM_D": {"has_no_defaults_at_init": True},
    "Llama_Nemotron_Nano_VL": {"attn_implementation": "eager"},
}
_ABSENT = object()
_NESTED = ("text_config", "language_config", "vision_config", "audio_config", "projector_config")


class RemoteCodeError(ConfigError, RuntimeError):
    """The config's class is code of the checkpoint, and trust_remote_code is not set."""


class LazyConfigDict(dict[str, Any]):
    """{model_type: config class}. Stores class names; a class is imported or made when it is first looked up."""

    def __getitem__(self, model_type: str) -> type:
        value = super().__getitem__(model_type)
        if isinstance(value, str):
            value = class_named(value, model_type)
            super().__setitem__(model_type, value)
        return value

    def get(self, model_type: str, default: Any = None) -> Any:
        """The class, or `default` for an unknown model_type."""
        try:
            return self[model_type]
        except KeyError:
            return default

    # Iterators instead of views, so that each class is imported only when the iteration reaches it.
    def values(self) -> Iterator[type]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Iterate over all classes; imports them."""
        return (self[model_type] for model_type in self)

    def items(self) -> Iterator[tuple[str, type]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Iterate over (model_type, class); imports the classes."""
        return ((model_type, self[model_type]) for model_type in self)

    def name_of(self, model_type: str) -> str | None:
        """The class's name, without importing it."""
        value = super().get(model_type)
        return value if isinstance(value, str | None) else value.__name__


CONFIG_REGISTRY = LazyConfigDict(
    afmoe="AfmoeConfig", chatglm="ChatGLMConfig", deepseek_vl_v2="DeepseekVLV2Config", deepseek_v32="DeepseekV3Config",
    eagle="EAGLEConfig", flex_olmo="FlexOlmoConfig", hunyuan_vl="HunYuanVLConfig", jais="JAISConfig",
    kimi_linear="KimiLinearConfig", kimi_vl="KimiVLConfig", medusa="MedusaConfig",
    mlp_speculator="MLPSpeculatorConfig", nemotron="NemotronConfig", olmo3="Olmo3Config", RefinedWeb="RWConfig",
    RefinedWebModel="RWConfig", speculators="SpeculatorsConfig", ultravox="UltravoxConfig",
)


def recipe_of(model_type: str | None) -> ConfigRecipe | None:
    """The recipe of weft's own class for a model_type; None if weft has none (Transformers or the checkpoint may)."""
    return RECIPES.get(CONFIG_REGISTRY.name_of(model_type) or "") if model_type is not None else None


def auto_config_keywords(model_type: str | None) -> dict[str, Any]:
    """Keyword arguments for `from_dict` of this model_type's class, besides the values."""
    return dict(_KEYWORDS.get(model_type or "", {}))


def class_named(name: str, model_type: str) -> type[PretrainedConfig]:
    """Transformers' class of this name if it has one, else weft's own."""
    import transformers

    found = getattr(transformers, name, None)
    return found if isinstance(found, type) else _own_class(RECIPES.get(name) or ConfigRecipe(name=name), model_type)


def class_of(values: Mapping[str, Any], model: str, *, trust_remote_code: bool = False, revision: str | None = None,
             code_revision: str | None = None) -> type[PretrainedConfig]:
    """The class for a config's model_type, from CONFIG_REGISTRY, from Transformers, or from a trusted checkpoint.

    RemoteCodeError when only the checkpoint has the class and is not trusted; ConfigError when there is no class.
    """
    model_type = values.get("model_type")
    if model_type is not None and model_type in CONFIG_REGISTRY:
        return CONFIG_REGISTRY[model_type]
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    if model_type is not None and model_type in CONFIG_MAPPING:
        return CONFIG_MAPPING[model_type]
    reference = remote_class(values)
    if reference is None:
        raise ConfigError("model_type", model_type, expected="a model_type that Transformers or weft has a class for",
                          source=model, hint="Pass hf_overrides={\"model_type\": ...} where a known one fits.")
    if not trust_remote_code:
        raise RemoteCodeError("auto_map.AutoConfig", reference, source=model, expected="code that you trust",
                              hint=f"model_type {model_type!r} needs it: look at it, then pass trust_remote_code=True "
                              "or --trust-remote-code.")
    return load_remote_class(reference, model, field="auto_map.AutoConfig", revision=revision,
                             code_revision=code_revision)


def remote_class(values: Mapping[str, Any]) -> str | None:
    """The name of the config class that comes with the checkpoint (auto_map), or None."""
    auto_map = values.get("auto_map")
    found = auto_map.get("AutoConfig") if isinstance(auto_map, Mapping) else None
    return found if isinstance(found, str) else None


def build_config(values: Mapping[str, Any], cls: type[PretrainedConfig], source: str,
                 reader: ConfigReader | None = None) -> PretrainedConfig:
    """The config object. ConfigError, naming key and value, when the class refuses the values.

    reader: the values' reader, if they are only part of a file or partly from elsewhere; used for error messages.
    """
    keywords = auto_config_keywords(values.get("model_type"))

    def make(given: dict[str, Any]) -> PretrainedConfig:
        return cls.from_dict(given, **keywords)

    try:
        return make(dict(values))
    except ConfigError:      # raised by one of weft's own classes
        raise
    except (Exception, SystemExit) as error:
        reader = reader or ConfigReader(values, source=source)
        raise complaint(values, make, error, class_name=cls.__name__, reader=reader) from error


def config_object(values: Mapping[str, Any], source: str) -> PretrainedConfig:
    """The object of a resolved config, of its model_type's class; without one, an object with the values as attributes.
    """
    plain = thaw(values)
    try:
        cls = class_of(plain, source)
    except ConfigError:      # there is no class, or only untrusted code has one
        return plain_config(plain, source)
    return build_config(plain, cls, source)


def values_of(config: PretrainedConfig) -> dict[str, Any]:
    """All values of a config object, as they would be in a JSON file."""
    return json.loads(config.to_json_string(use_diff=False))


def own_values(config: PretrainedConfig) -> dict[str, Any]:
    """Like `values_of`, without values that equal the defaults of every Transformers config."""
    from transformers import PretrainedConfig

    generic = values_of(PretrainedConfig())
    return {key: value for key, value in values_of(config).items()
            if key == "model_type" or generic.get(key, _ABSENT) != value}


def plain_config(values: Mapping[str, Any], source: str) -> PretrainedConfig:
    """A config object with only the values as attributes, for a model_type without a class."""
    cls = _own_class(ConfigRecipe(name="PretrainedConfig"), values.get("model_type") or "")
    return build_config(values, cls, source)


def _own_class(recipe: ConfigRecipe, model_type: str) -> type[PretrainedConfig]:
    from transformers import PretrainedConfig

    def __init__(self: PretrainedConfig, **values: Any) -> None:
        found = fill_in(rename_keys(Values(values), recipe, recipe.name), recipe, recipe.name).values
        for key in _NESTED:
            if isinstance(found.get(key), Mapping):
                found[key] = _nested(found[key], recipe.name)
        PretrainedConfig.__init__(self, **found)

    def __setattr__(self: PretrainedConfig, key: str, value: Any) -> None:
        inner = recipe.wraps.get(key)
        is_new = isinstance(value, str) and value != self.__dict__.get(key)
        if inner is not None and is_new and (key in self.__dict__ or self.__dict__.get(inner) is None):
            PretrainedConfig.__setattr__(self, inner, _config_of(value))
        PretrainedConfig.__setattr__(self, key, value)

    return type(recipe.name, (PretrainedConfig,), {
        "model_type": model_type, "__init__": __init__, "__setattr__": __setattr__, "__module__": __name__,
        "__doc__": f"weft's {recipe.name}.",
        "has_no_defaults_at_init": not recipe.defaults,
    })


def _config_of(model: str) -> PretrainedConfig:
    """The config object of another model, named in this model's config."""
    values = get_hf_file_to_dict("config.json", model)
    if values is None:
        raise ConfigError("config.json", None, expected=f"a file of {model}", hint="It is missing.")
    return build_config(values, class_of(values, model), model)


def _nested(values: Mapping[str, Any], source: str) -> PretrainedConfig:
    try:
        cls = class_of(values, source)
    except ConfigError:      # no class is known for this part: take the values alone
        return plain_config(values, source)
    return build_config(values, cls, source)
