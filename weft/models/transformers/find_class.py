"""From a config to the class of Transformers that computes it, or to the class that comes with the checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.config.engine_config import ModelConfig
from weft.errors import ConfigError, NotBuiltError
from weft.resolve.hf.remote_code import load_remote_class

_CAUSAL = "AutoModelForCausalLM"


def is_known(model: ModelConfig) -> bool:
    """Whether Transformers, or the checkpoint's own code, has a class for the model. Imports Transformers.

    Transformers' class counts only where it takes configs of this model_type.
    """
    if _reference(model.hf_config) is not None:
        return True
    found, model_type = _own_class(model.hf_config["architectures"]), model.hf_config.get("model_type")
    if found is None or getattr(found.config_class, "model_type", None) == model_type:
        return found is not None
    from transformers.models.auto import modeling_auto

    tables = [table for name, table in vars(modeling_auto).items() if name.endswith("_MAPPING_NAMES")]
    return any(found.__name__ in _listed(table.get(model_type)) for table in tables)


def _listed(names: Any) -> tuple[str, ...]:
    return names if isinstance(names, tuple) else (names,)


def find_class(model: ModelConfig) -> Any:
    """The model class. ConfigError when there is none, or when it is code of the checkpoint that is not trusted.

    NotBuiltError for models that weft's engine cannot express.
    """
    names = model.hf_config["architectures"]
    found = _own_class(names)
    if found is None:
        found = _remote(model, names)
    if "QuestionAnswering" in found.__name__ or "MultipleChoice" in found.__name__:
        raise NotBuiltError("architectures", names, expected="a model that generates, classifies, or whose states are "
                            "pooled", source=model.config_source)
    return found


def _own_class(names: list[str]) -> Any:
    """The class of Transformers with one of these names; None: it has none."""
    import transformers

    for name in names:
        found = getattr(transformers, name, None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    return None


def _reference(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """(key of auto_map, "file.Class") of the model class that comes with a checkpoint; None: it brings none."""
    auto_map = values.get("auto_map")
    if not isinstance(auto_map, Mapping):
        return None
    found = {key: value for key, value in auto_map.items()
             if key.startswith("AutoModel") and isinstance(value, str)}
    fitting = [key for key, value in found.items() if value.rpartition(".")[2] in values["architectures"]]
    key = next(iter(fitting), _CAUSAL if _CAUSAL in found else next(iter(found), None))
    return None if key is None else (key, found[key])


def _remote(model: ModelConfig, names: list[str]) -> Any:
    reference = _reference(model.hf_config)
    if reference is None:
        raise ConfigError("architectures", names, expected="a class of Transformers", source=model.config_source,
                          hint="This version of Transformers has none. Describe or program the model "
                          "(docs/adding-a-model.md), or install a version that has the class.")
    key, name = reference
    if not model.trust_remote_code:
        raise ConfigError(f"auto_map.{key}", name, expected="code that you trust", source=model.config_source,
                          hint="The model's class comes with the checkpoint: look at the file, then pass "
                          "trust_remote_code=True or --trust-remote-code.")
    return load_remote_class(name, model.path, field=f"auto_map.{key}", code_revision=model.code_revision)
