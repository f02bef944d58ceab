"""The stages that turn a config.json's dictionary into the normalised one. Each stage is a function of dictionaries.

`normalise` in `config_file.py` runs them in this order: find_model_type; rename_keys and move_ropes, on the file's
values and on the overrides; merge_overrides, fill_in, move_ropes, name_dtypes, name_architectures, check_ropes; then
the fixups. Knows no model family.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from weft.architectures.origin import OVERRIDE, arranged, class_default, is_override, moved
from weft.architectures.reader import ConfigReader
from weft.architectures.rope_parameters import NAME as ROPE
from weft.architectures.rope_parameters import is_by_layer, layer_types, normalise_rope, read_rope
from weft.config.engine_args import DTYPE_NAMES, DTYPES
from weft.errors import ConfigError
from weft.resolve.hf.recipes import ConfigRecipe
from weft.resolve.options.overrides import merge

# Keys under which configs of larger models nest the language model's config, and another name, which is replaced.
TEXT_CONFIG_KEYS = ("text_config", "language_config")
_TEXT_RENAMES = {"llm_config": "text_config"}

# (class of Transformers, model_type) -> the family whose tensor names such a checkpoint has.
BORROWED_CLASSES = {("LlamaForCausalLM", "exaone"): "ExaoneForCausalLM"}
# model_type -> the architecture to assume when config.json lists none.
ARCHITECTURE_OF_TYPE = {
    "RefinedWeb": "RWForCausalLM", "RefinedWebModel": "RWForCausalLM", "arcee": "ArceeForCausalLM",
    "bloom": "BloomForCausalLM", "chatglm": "ChatGLMModel", "cohere": "CohereForCausalLM",
    "cohere2": "Cohere2ForCausalLM", "deepseek_v2": "DeepseekV2ForCausalLM", "deepseek_v3": "DeepseekV3ForCausalLM",
    "deepseek_v32": "DeepseekV32ForCausalLM", "falcon": "FalconForCausalLM", "gemma": "GemmaForCausalLM",
    "gemma2": "Gemma2ForCausalLM", "gemma3_text": "Gemma3ForCausalLM", "glm": "GlmForCausalLM",
    "glm4": "Glm4ForCausalLM", "gpt2": "GPT2LMHeadModel", "gpt_neox": "GPTNeoXForCausalLM", "gptj": "GPTJForCausalLM",
    "granite": "GraniteForCausalLM", "jais": "JAISLMHeadModel", "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM", "mixtral": "MixtralForCausalLM", "olmo": "OlmoForCausalLM",
    "olmo2": "Olmo2ForCausalLM", "olmo3": "Olmo3ForCausalLM", "opt": "OPTForCausalLM", "phi": "PhiForCausalLM",
    "phi3": "Phi3ForCausalLM", "qwen": "QWenLMHeadModel", "qwen2": "Qwen2ForCausalLM",
    "qwen2_moe": "Qwen2MoeForCausalLM", "qwen3": "Qwen3ForCausalLM", "qwen3_moe": "Qwen3MoeForCausalLM",
    "seed_oss": "SeedOssForCausalLM", "smollm3": "SmolLM3ForCausalLM", "stablelm": "StableLmForCausalLM",
    "starcoder2": "Starcoder2ForCausalLM",
}
_MAX_DEPTH = 4      # levels of nested configs that are looked at


@dataclass(frozen=True, slots=True)
class Values:
    """A config's values. origins: {dotted key: source}, for values that are not under the same key of the file."""

    values: dict[str, Any]
    origins: dict[str, str] = field(default_factory=dict)


def find_model_type(values: Mapping[str, Any], overrides: Mapping[str, Any], source: str) -> str | None:
    """The model_type of the overrides, else of the file; `speculators` for a draft model of that library without one.

    None when there is none. ConfigError when it is no string.
    """
    for place, where in ((overrides, "hf_overrides"), (values, source)):
        found = place.get("model_type")
        if found is None:
            continue
        if not isinstance(found, str):
            raise ConfigError("model_type", found, expected="a string", source=where)
        return found
    return "speculators" if "speculators_config" in values else None


def rename_keys(given: Values, recipe: ConfigRecipe | None, source: str) -> Values:
    """Rename old and class-specific keys to the usual ones, unless the usual key has a value."""
    values, origins = dict(given.values), dict(given.origins)
    for old, new in (_TEXT_RENAMES | dict(recipe.renames if recipe else {})).items():
        if values.get(old) is None or values.get(new) is not None:
            continue
        values[new] = values.pop(old)
        origins[new] = moved(source, old)
        if isinstance(values[new], Mapping):
            origins |= {f"{new}.{key}": moved(source, f"{old}.{key}") for key in values[new] if isinstance(key, str)}
    return Values(values, origins)


def move_ropes(given: Values, source: str, *, is_whole: bool) -> Values:
    """Replace all older spellings of `rope_parameters`, in the config and in its nested configs.

    is_whole: False for overrides, which may hold only some of the parameters.
    """
    values, origins = given.values, dict(given.origins)
    for path in list(config_paths(values)):
        config = at(values, path)
        found = normalise_rope(ConfigReader(config, source=source, path=_dotted(path)), is_whole=is_whole)
        if found is None:
            continue
        kept = {key: value for key, value in config.items() if key not in found.consumed}
        if is_whole and not is_by_layer(found.values) and "rope_type" not in found.values:
            found.values["rope_type"] = "default"
            origins[f"{_dotted(path)}{ROPE}.rope_type"] = class_default(ROPE)
        values = replaced(values, path, kept | {ROPE: found.values})
        for new, old in found.moves.items():
            key, given_as = f"{_dotted(path)}{ROPE}{'.' if new else ''}{new}", _dotted(path) + old
            origins[key] = given.origins.get(given_as) or moved(source, given_as)
    return Values(dict(values), origins)


def merge_overrides(given: Values, overrides: Values) -> Values:
    """The file's values with the user's overrides on top.

    An override that sets all rope parameters to null removes the scaling, but keeps the base and the rotated part.
    """
    values, on_top, below = dict(given.values), dict(overrides.values), dict(given.origins)
    for name in TEXT_CONFIG_KEYS:
        if isinstance(on_top.get(name), Mapping) and name not in values and "model_type" not in on_top:
            raise ConfigError(f"hf_overrides.{name}", on_top[name], expected="keys that this config has", hint=(
                f"It has no {name}, so it would change nothing; without it would work: "
                f"{', '.join(map(str, on_top[name]))}."))
    for name in (ROPE, "rope_scaling"):
        if name in on_top and on_top[name] is None and isinstance(values.get(ROPE), Mapping):
            del on_top[name]
            kept = {k: v for k, v in values[ROPE].items() if k in ("rope_theta", "partial_rotary_factor")}
            values[ROPE] = {"rope_type": "default"} | kept
            below = {key: origin for key, origin in below.items()
                     if not key.startswith(f"{ROPE}.") or key.removeprefix(f"{ROPE}.") in kept}
            below[f"{ROPE}.rope_type"] = moved(OVERRIDE, name)
    merged, origins = merge(values, on_top)
    return Values(merged, below | origins | overrides.origins)


def fill_in(given: Values, recipe: ConfigRecipe | None, source: str) -> Values:
    """Add the values of the model type's recipe: those computed from other keys, then defaults of missing keys."""
    if recipe is None:
        return given
    values, origins = dict(given.values), dict(given.origins)
    reader = ConfigReader(values, source=source, origins=origins)
    for key, value in (recipe.arrange(reader) if recipe.arrange else {}).items():
        if not is_override(origins.get(key)):
            values[key], origins[key] = value, arranged(recipe.name)
    for key, value in recipe.defaults.items():
        if key not in values:
            values[key], origins[key] = value, class_default(recipe.name)
    return Values(values, origins)


def name_dtypes(given: Values) -> Values:
    """Replace other names of dtypes (`torch.bfloat16`, `bf16`) by the usual one (`bfloat16`), in nested configs too."""
    values: Mapping[str, Any] = given.values
    for path in list(config_paths(values)):
        config = at(values, path)
        named = {key: dtype_name(config[key]) for key in ("dtype", "torch_dtype") if isinstance(config.get(key), str)}
        values = replaced(values, path, {**config, **named})
    return Values(dict(values), given.origins)


def dtype_name(name: str) -> str:
    """The usual name of a dtype; an unknown name is returned unchanged."""
    short = name.removeprefix("torch.")
    return DTYPE_NAMES.get(short, short if short in DTYPES else name)


def name_architectures(given: Values, source: str) -> Values:
    """Set `architectures` from model_type if the config lists none, or Transformers' class of another family.

    ConfigError if model_type is unknown then, or if `architectures` is no list of strings.
    """
    names = given.values.get("architectures")
    if names:
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ConfigError("architectures", names, expected="a list of strings", source=source)
        own = BORROWED_CLASSES.get((names[0], str(given.values.get("model_type"))))
        return given if own is None else Values(
            given.values | {"architectures": [own]}, given.origins | {"architectures": "model_type"})
    model_type = given.values.get("model_type")
    name = ARCHITECTURE_OF_TYPE.get(model_type) if isinstance(model_type, str) else None
    if name is None:
        raise ConfigError("architectures", names, expected='the model\'s class, e.g. ["LlamaForCausalLM"]',
                          source=source, hint=f"The file has none and model_type is {model_type!r}. Pass "
                          'hf_overrides={"architectures": [...]}.')
    return Values(given.values | {"architectures": [name]},
                  given.origins | {"architectures": f"model_type {model_type}"})


def check_ropes(values: Mapping[str, Any], origins: Mapping[str, str], source: str) -> None:
    """Read all rope parameters of the language model once, so that errors are raised before anything is built."""
    readers = [ConfigReader(values, source=source, origins=origins)]
    readers += [readers[0].sub(key) for key in TEXT_CONFIG_KEYS if isinstance(values.get(key), Mapping)]
    for reader in readers:
        for layer_type in layer_types(reader) or (None,):
            read_rope(reader, layer_type)


# Nested configs: text_config, vision_config, thinker_config.text_config …


# Keys that end in _config but are no nested model configs.
_PARTS = frozenset({"quantization_config", "compression_config", "generation_config", "attn_config", "ffn_config"})


def config_paths(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of a config and its nested configs, as tuples of keys; () first, which is the config itself."""
    yield path
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(key, str) and key.endswith("_config") and len(path) < _MAX_DEPTH \
                and key not in _PARTS:
            yield from config_paths(value, (*path, key))


def at(values: Mapping[str, Any], path: tuple[str, ...]) -> Mapping[str, Any]:
    """The config at a path."""
    for key in path:
        values = values[key]
    return values


def replaced(values: Mapping[str, Any], path: tuple[str, ...], inner: dict[str, Any]) -> dict[str, Any]:
    """A copy of the whole config with the config at a path replaced by `inner`."""
    if not path:
        return inner
    return {**values, path[0]: replaced(values[path[0]], path[1:], inner)}


def _dotted(path: tuple[str, ...]) -> str:
    return "".join(f"{key}." for key in path)
