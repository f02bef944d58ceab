"""Maps a params.json to the keys of a config.json in steps, each a function of dictionaries.

`adapt` runs them in this order: name_sizes, check_sizes, set_lengths, place_window, place_quantization,
add_unused_experts, name_architecture, place_yarn, check_llama_4, nest_encoder. Unknown keys stay unchanged. Every value
that is not under the same key of the file gets an origin (`architectures/origin.py`). Source: params.json files of
mistralai's models and github.com/mistralai/mistral-inference; the keys made are those of Transformers' configs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from weft.architectures.origin import arranged, class_default, moved
from weft.architectures.reader import ConfigReader
from weft.architectures.rope_parameters import NAME as ROPE
from weft.resolve.sizes import check_sizes
from weft.resolve.stages import TEXT_CONFIG_KEYS, Values

FORMAT_DEFAULT = class_default("Mistral's format")
DEFAULT_LENGTH = 128_000
MAMBA, LARGE = "Mamba2ForCausalLM", "MistralLarge3ForCausalLM"

_NAMES = {
    "dim": "hidden_size", "n_layers": "num_hidden_layers", "n_heads": "num_attention_heads",
    "n_kv_heads": "num_key_value_heads", "hidden_dim": "intermediate_size", "norm_eps": "rms_norm_eps",
    "activation": "hidden_act", "tied_embeddings": "tie_word_embeddings",
}
_MIXTRAL = {"num_experts": "num_local_experts", "num_experts_per_tok": "num_experts_per_tok"}
_LARGE = {
    "route_every_n": "moe_layer_freq", "first_k_dense_replace": "first_k_dense_replace",
    "num_experts_per_tok": "num_experts_per_tok", "num_experts": "n_routed_experts",
    "expert_hidden_dim": "moe_intermediate_size", "routed_scale": "routed_scaling_factor",
    "num_shared_experts": "n_shared_experts", "num_expert_groups": "n_group",
    "num_expert_groups_per_tok": "topk_group",
}
_LARGE_DEFAULTS = {"moe_layer_freq": 1, "first_k_dense_replace": 0, "routed_scaling_factor": 1.0, "n_group": 1,
                   "topk_group": 1, "topk_method": None, "norm_topk_prob": True, "scoring_func": "softmax"}
_TRAINING = frozenset({"expert_parallel", "expert_model_parallel"})      # how training spread experts over devices
_YARN = {"factor": "factor", "original_max_position_embeddings": "original_max_position_embeddings",
         "beta": "beta_fast", "alpha": "beta_slow"}
_AUDIO = {"dim": "d_model", "n_layers": "encoder_layers", "n_heads": "encoder_attention_heads",
          "hidden_dim": "encoder_ffn_dim"}
_MEL = ("num_mel_bins", "window_size", "sampling_rate", "hop_length")

logger = logging.getLogger("weft")


def adapt(params: Mapping[str, Any], beside: Mapping[str, Any], source: str, beside_source: str) -> Values:
    """A params.json under the keys of a config.json. beside: the config.json next to it; only its length is used.

    ConfigError names the key as the file spells it.
    """
    given = check_sizes(name_sizes(Values(dict(params)), source), source)
    given = set_lengths(given, beside, source, beside_source)
    for step in (place_window, place_quantization, add_unused_experts, name_architecture, place_yarn, check_llama_4,
                 nest_encoder):
        given = step(given, source)
    return given


def name_sizes(given: Values, source: str) -> Values:
    """Rename sizes to the usual keys, and add the format's defaults."""
    draft = _Draft(given, source)
    for key in (*TEXT_CONFIG_KEYS, "llm_config"):
        if key in draft.values:
            raise draft.reader().error(key, draft.values[key], "no such key", "A params.json has its keys at the top.")
    for old, new in _NAMES.items():
        if new not in draft.values:
            draft.move(draft.values, old, new)
    draft.default(hidden_act="silu", tie_word_embeddings=False)
    return draft.done()


def set_lengths(given: Values, beside: Mapping[str, Any], source: str, beside_source: str) -> Values:
    """Set `max_position_embeddings` from the file, the config.json beside it, or a guess; `max_seq_len` the same."""
    draft, key = _Draft(given, source), "max_position_embeddings"
    if draft.values.get(key) is None:
        places = {"": beside} | {f"{name}.": beside[name] for name in TEXT_CONFIG_KEYS
                                 if isinstance(beside.get(name), Mapping)}
        path = next((path for path, values in places.items() if values.get(key) is not None), None)
        if path is None:
            logger.warning("%s: no %s, and no config.json says it: %d is assumed.", source, key, DEFAULT_LENGTH)
            draft.put(key, DEFAULT_LENGTH, FORMAT_DEFAULT)
        else:
            draft.put(key, places[path][key], moved(beside_source, path + key))
    draft.default(max_seq_len=draft.values[key])
    return draft.done()


def place_window(given: Values, source: str) -> Values:
    """Split `sliding_window`, one window or a list that repeats over the layers, into one size and `layer_types`."""
    draft, window = _Draft(given, source), given.values.get("sliding_window")
    if window is None or window == 0:
        return given
    reader = draft.reader()
    layers = reader.positive("num_hidden_layers")
    pattern = window if isinstance(window, list) else [window]
    sizes = [size for size in pattern if size is not None]
    if not pattern or any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in sizes):
        raise reader.error("sliding_window", window, "a number of tokens, or a list of such numbers and nulls")
    if len(set(sizes)) > 1:
        raise reader.error("sliding_window", window, "one size for all layers that have a window")
    if len(pattern) > layers:
        raise reader.error("sliding_window", window, f"at most as many entries as n_layers = {layers}")
    if isinstance(window, list):
        draft.put("sliding_window", next(iter(sizes), None), moved(source, "sliding_window"))
    if draft.values.get("layer_types") is None:
        kinds = ["full_attention" if size is None else "sliding_attention" for size in pattern]
        draft.put("layer_types", [kinds[i % len(kinds)] for i in range(layers)], moved(source, "sliding_window"))
    return draft.done()


def place_quantization(given: Values, source: str) -> Values:
    """Turn `quantization` into `quantization_config`: fp8, or compressed-tensors unchanged."""
    if not given.values.get("quantization"):
        return given
    draft = _Draft(given, source)
    reader = draft.reader().sub("quantization")
    settings = dict(draft.values.pop("quantization"))
    if settings.get("qformat_weight") is not None:
        reader.choice("qformat_weight", allowed=("fp8_e4m3",))
        scheme = reader.choice("qscheme_act", allowed=("NO_SCALES", "TENSOR"), default=None)
        rest = {key: value for key, value in settings.items() if key not in ("qformat_weight", "qscheme_act")}
        settings = {"quant_method": "fp8", "activation_scheme": "dynamic" if scheme == "NO_SCALES" else "static"} | rest
    else:
        reader.choice("quant_method", allowed=("compressed-tensors", "compressed_tensors"))
        settings["quant_method"] = "compressed-tensors"
    draft.put("quantization_config", settings, moved(source, "quantization"))
    return draft.done()


def add_unused_experts(given: Values, source: str) -> Values:
    """Give a model with latent attention (MLA) but no experts one expert that no layer uses.

    The one class for latent attention has experts.
    """
    draft = _Draft(given, source)
    if draft.values.get("qk_nope_head_dim") is None or draft.values.get("moe"):
        return given
    draft.put("moe", {"num_experts": 1, "num_experts_per_tok": 1, "num_shared_experts": 1, "expert_hidden_dim": 1,
                      "first_k_dense_replace": draft.reader().positive("num_hidden_layers")}, arranged(LARGE))
    return draft.done()


def name_architecture(given: Values, source: str) -> Values:
    """Set `architectures` and `model_type`, and rename the keys about experts for that class."""
    draft = _Draft(given, source)
    experts = draft.reader().dict("moe", default=None) or {}
    shared = draft.reader().sub("moe").int("num_shared_experts", default=0) if experts else 0
    if draft.values.get("model_type") == "mamba":
        name, model_type, why = MAMBA, "mamba2", "model_type mamba"
    elif shared > 0:
        why = "there is latent attention" if "moe" in draft.origins else "there are shared experts"
        name, model_type = LARGE, "deepseek_v3"
    elif experts:
        name, model_type, why = "MixtralForCausalLM", "mixtral", "there is a moe block"
    else:
        name, model_type, why = "MistralForCausalLM", "mistral", "there is no moe block"
    draft.put("architectures", [name], why)
    draft.put("model_type", model_type, why)
    if experts:
        _place_experts(draft, dict(experts), _LARGE if shared > 0 else _MIXTRAL)
    if shared > 0:
        draft.default(**_LARGE_DEFAULTS)
    return draft.done()


def _place_experts(draft: _Draft, experts: dict[str, Any], names: Mapping[str, str]) -> None:
    """Move the keys of `moe` to the top level. Unknown keys stay in `moe`, where they are reported as unread."""
    made = draft.origins.pop("moe", None)
    del draft.values["moe"]
    for old, new in names.items():
        if old in experts:
            draft.put(new, experts.pop(old), made or moved(draft.source, f"moe.{old}"))
    if left := {key: value for key, value in experts.items() if key not in _TRAINING}:
        draft.values["moe"] = left


def place_yarn(given: Values, source: str) -> Values:
    """Turn `yarn` into `rope_parameters`."""
    if not given.values.get("yarn"):
        return given
    draft = _Draft(given, source)
    reader = draft.reader().sub("yarn")
    yarn = dict(draft.values.pop("yarn"))
    applies_scale = reader.bool("apply_scale", default=True)
    rope: dict[str, Any] = {"rope_type": "yarn"}
    draft.origins |= {ROPE: moved(source, "yarn"), f"{ROPE}.mscale_all_dim": FORMAT_DEFAULT}
    for old, new in _YARN.items():
        if old in yarn:
            rope[new], draft.origins[f"{ROPE}.{new}"] = yarn[old], moved(source, f"yarn.{old}")
    rope["mscale_all_dim"] = 1
    if not applies_scale:
        rope["attention_factor"], draft.origins[f"{ROPE}.attention_factor"] = 1.0, moved(source, "yarn.apply_scale")
    for key in yarn:
        if key not in (*_YARN, "apply_scale"):
            raise reader.error(key, yarn[key], f"no key besides {', '.join(_YARN)} and apply_scale")
    draft.values[ROPE] = rope
    return draft.done()


def check_llama_4(given: Values, source: str) -> Values:
    """Check that `llama_4_scaling`, if present, has its two keys; changes nothing."""
    if given.values.get("llama_4_scaling"):
        reader = _Draft(given, source).reader().sub("llama_4_scaling")
        reader.positive("original_max_position_embeddings")
        reader.float("beta")
    return given


def nest_encoder(given: Values, source: str) -> Values:
    """Nest a model that has an encoder for images or audio: the encoder's config beside a `text_config`."""
    draft = _Draft(given, source)
    parts = draft.reader().dict("multimodal", default=None) or {}
    if draft.values.get("vision_encoder"):
        vision, place = draft.reader().dict("vision_encoder"), "vision_encoder"
        del draft.values[place]
    elif parts.get("vision_encoder_args"):
        place = "multimodal.vision_encoder_args"
        vision = draft.reader().sub("multimodal").dict("vision_encoder_args")
        draft.leave("multimodal", "vision_encoder_args")
    elif parts.get("whisper_model_args"):
        return _nest_audio(draft)
    else:
        return given
    return draft.nested("PixtralForConditionalGeneration", "pixtral", "vision_config", dict(vision), place)


def _nest_audio(draft: _Draft) -> Values:
    reader = draft.reader().sub("multimodal").sub("whisper_model_args")
    encoder, downsample = reader.sub("encoder_args"), reader.sub("downsample_args")
    mel = encoder.sub("audio_encoding_args")
    is_causal = encoder.bool("causal", default=False)
    kept = encoder.all_values().keys() - {*_AUDIO, "audio_encoding_args"}
    audio = {key: encoder.value(key) for key in encoder.all_values() if key in kept}
    audio |= {new: encoder.positive(old) for old, new in _AUDIO.items()} | {key: mel.positive(key) for key in _MEL}
    audio |= {"downsample_factor": downsample.positive("downsample_factor"), "is_encoder_decoder": False}
    origins = {key: moved(draft.source, encoder.path + key) for key in kept}
    origins |= {new: moved(draft.source, encoder.path + old) for old, new in _AUDIO.items()}
    origins |= {key: moved(draft.source, mel.path + key) for key in _MEL}
    origins |= {"downsample_factor": moved(draft.source, f"{downsample.path}downsample_factor"),
                "is_encoder_decoder": FORMAT_DEFAULT}
    draft.leave("multimodal", "whisper_model_args")
    name, model_type = (("VoxtralRealtimeGeneration", "voxtral_realtime") if is_causal
                        else ("VoxtralForConditionalGeneration", "voxtral"))
    return draft.nested(name, model_type, "audio_config", audio, "multimodal.whisper_model_args", origins)


class _Draft:
    """A copy of the values and origins for one step to change; the step's input stays unchanged."""

    def __init__(self, given: Values, source: str) -> None:
        self.values, self.origins, self.source = dict(given.values), dict(given.origins), source

    def done(self) -> Values:
        return Values(self.values, self.origins)

    def reader(self) -> ConfigReader:
        return ConfigReader(self.values, source=self.source, origins=self.origins)

    def put(self, key: str, value: Any, origin: str) -> None:
        self.values[key], self.origins[key] = value, origin

    def move(self, place: dict[str, Any], old: str, new: str) -> None:
        if old in place:
            self.put(new, place.pop(old), moved(self.source, old))

    def default(self, **values: Any) -> None:
        for key, value in values.items():
            if key not in self.values:
                self.put(key, value, FORMAT_DEFAULT)

    def leave(self, key: str, taken: str) -> None:
        """Remove the key `taken` from the object at `key`, and the object too if it is empty then."""
        self.values[key] = {name: value for name, value in self.values[key].items() if name != taken}
        if not self.values[key]:
            del self.values[key]

    def nested(self, architecture: str, model_type: str, key: str, encoder: dict[str, Any], place: str,
               encoder_origins: Mapping[str, str] | None = None) -> Values:
        """The nested config: the encoder's, which was at `place`, under `key`; all else under text_config.

        Quantization settings are also at the top level.
        """
        origins = {f"text_config.{name}": self.origins.get(name) or moved(self.source, name) for name in self.values}
        origins |= {f"text_config.{name}": origin for name, origin in self.origins.items()}
        origins |= {f"{key}.{name}": origin for name, origin in (encoder_origins or {}).items()}
        why = f"there is a {place}"
        origins |= {key: moved(self.source, place), "architectures": why, "model_type": why}
        whole = {name: self.values[name] for name in ("quantization_config",) if name in self.values}
        origins |= {name: self.origins[name] for name in whole if name in self.origins}
        return Values({"architectures": [architecture], "model_type": model_type, "text_config": self.values,
                       key: encoder, **whole}, origins)
