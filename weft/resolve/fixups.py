"""Fixups: corrections of a config that its architecture needs and its file does not say. A table of small classes.

A fixup sets attributes on a draft of the model's config. Each key it sets gets the fixup as its origin; keys that the
user overrode keep the user's value. Knows no tensors. Source of the cases: the configs of the named models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weft.architectures.origin import fixup, is_override
from weft.config.engine_config import EngineConfig
from weft.errors import ConfigError


class ConfigView:
    """A config's keys as attributes; a missing key reads as None. set_keys: {key: value} of the keys assigned here."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "set_keys", {})

    def __getattr__(self, name: str) -> Any:
        return self._values.get(name)

    def all_values(self) -> dict[str, Any]:
        """All keys with their current values."""
        return dict(self._values)

    def __setattr__(self, name: str, value: Any) -> None:
        self._values[name] = value
        self.set_keys[name] = value


class ModelConfigDraft:
    """The argument of `verify_and_update_model_config`: the model's config, and the defaults of the model's pooler."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.hf_config = ConfigView(values)
        given = values.get("pooler_config")
        self.pooler_config = ConfigView(given if isinstance(given, Mapping) else {})
        self.source = source

    def error(self, key: str, value: Any, expected: str) -> ConfigError:
        """A ConfigError about a key of the config."""
        return ConfigError(key, value, expected=expected, source=self.source)

    def changes(self) -> Iterator[tuple[str, Any]]:
        """(key, value) of each key that a fixup set; the pooler's settings come as one object under `pooler_config`."""
        yield from self.hf_config.set_keys.items()
        if self.pooler_config.set_keys:
            yield "pooler_config", self.pooler_config.all_values()


class VerifyAndUpdateConfig:
    """Base class of fixups. By default neither method changes anything."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Check and change the model's config."""

    @staticmethod
    def verify_and_update_config(config: EngineConfig) -> EngineConfig:
        """Check the engine's config; returns it, or a changed copy."""
        return config


class CausalByFlag(VerifyAndUpdateConfig):
    """Embedding models whose config allows attention to later tokens with `use_bidirectional_attention`."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Causal unless the flag is set."""
        model_config.hf_config.is_causal = not model_config.hf_config.use_bidirectional_attention


class Bidirectional(VerifyAndUpdateConfig):
    """Decoders that were further trained as encoders (bidirectional attention)."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Every token sees every other."""
        model_config.hf_config.is_causal = False


class JinaV5(VerifyAndUpdateConfig):
    """Jina embeddings v5: causal, unless the config says otherwise."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """`is_causal` of the config, else true."""
        if model_config.hf_config.is_causal is None:
            model_config.hf_config.is_causal = True


# Names of LlamaBidirectional's `pooling`.
_POOLING = {"avg": "MEAN", "cls": "CLS", "last": "LAST"}


class LlamaBidirectional(Bidirectional):
    """Llama as an encoder. The config's `pooling` says how the tokens' hidden states become one vector."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Not causal, and the pooler's type from `pooling`."""
        Bidirectional.verify_and_update_model_config(model_config)
        pooling = model_config.hf_config.pooling
        if pooling is None:
            return
        if not isinstance(pooling, str) or pooling not in _POOLING:
            raise model_config.error("pooling", pooling, f"one of {', '.join(_POOLING)}")
        model_config.pooler_config.seq_pooling_type = _POOLING[pooling]


class _EncoderRotary(VerifyAndUpdateConfig):
    """Encoders with rotary positions: `rotary_kwargs` holds the arguments of their rotary embedding."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Set `rotary_kwargs` from head size, length and rope parameters."""
        c = model_config.hf_config
        heads, width = c.num_attention_heads, c.hidden_size
        if not all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in (heads, width)):
            raise model_config.error("num_attention_heads", heads, "a number of heads, and a hidden_size")
        size = width // heads
        rope = dict(c.rope_parameters or {})
        part = rope.pop("partial_rotary_factor", None) or 1.0
        c.rotary_kwargs = {"head_size": size, "rotary_dim": int(size * part) if part != 1.0 else size,
                           "max_position": c.max_trained_positions or c.max_position_embeddings,
                           "rope_parameters": rope or {"rope_type": "default", "rope_theta": 10000.0}}


class GteNew(_EncoderRotary):
    """GTE, and Snowflake's models with the same code: their MLP is a gated GELU, which the config calls `gelu`."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Set `hidden_act` to `geglu`, and the rotary arguments."""
        if model_config.hf_config.hidden_act == "gelu":
            model_config.hf_config.hidden_act = "geglu"
        _EncoderRotary.verify_and_update_model_config(model_config)


_NOMIC_RENAMES = {
    "n_inner": "intermediate_size", "n_embd": "hidden_size", "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers", "activation_function": "hidden_act", "layer_norm_epsilon": "layer_norm_eps",
    "n_positions": "max_position_embeddings",
}


class NomicBert(_EncoderRotary):
    """Nomic BERT: GPT-2's key names, a gated SiLU called `swiglu`, and separate lengths for training and for use."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Set the usual key names, `silu`, and the rotary arguments."""
        c = model_config.hf_config
        for old, new in _NOMIC_RENAMES.items():
            if getattr(c, new) is None and getattr(c, old) is not None:
                setattr(c, new, getattr(c, old))
        if c.hidden_act == "swiglu":
            c.hidden_act = "silu"
        _EncoderRotary.verify_and_update_model_config(model_config)


class JinaRoberta(_EncoderRotary):
    """Jina embeddings v3: XLM-RoBERTa with rotary positions."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Set the rotary arguments if the config has rotary positions."""
        if model_config.hf_config.position_embedding_type == "rotary":
            _EncoderRotary.verify_and_update_model_config(model_config)


class Qwen2ProcessReward(VerifyAndUpdateConfig):
    """Qwen2 process reward model: one score at each token that marks the end of a reasoning step."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Set the id of the step token."""
        model_config.pooler_config.step_tag_id = 151651


class ScoresWithoutActivation(VerifyAndUpdateConfig):
    """Models whose scores are the head's raw output."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Turn off the activation over the classes."""
        model_config.pooler_config.use_activation = False


class Dbrx(VerifyAndUpdateConfig):
    """DBRX: the rotary base is in `attn_config`, where Transformers' class does not look for it."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Put the base into `rope_parameters` unless they have one."""
        c = model_config.hf_config
        theta = (c.attn_config or {}).get("rope_theta")
        if theta is not None and "rope_theta" not in (c.rope_parameters or {}):
            c.rope_parameters = {"rope_type": "default", **(c.rope_parameters or {}), "rope_theta": theta}


class JinaVLRanking(VerifyAndUpdateConfig):
    """Jina's vision reranker: one score, with the mean of the logits subtracted."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Set one label, and the mean."""
        model_config.hf_config.num_labels = 1
        model_config.pooler_config.logit_mean = 2.65


# architecture -> its fixup.
MODELS_CONFIG_MAP: dict[str, type[VerifyAndUpdateConfig]] = {
    "DbrxForCausalLM": Dbrx,
    "Gemma3TextModel": CausalByFlag,
    "GteNewForSequenceClassification": GteNew,
    "GteNewModel": GteNew,
    "JambaForSequenceClassification": ScoresWithoutActivation,
    "JinaEmbeddingsV5Model": JinaV5,
    "JinaVLForRanking": JinaVLRanking,
    "LlamaBidirectionalForSequenceClassification": LlamaBidirectional,
    "LlamaBidirectionalModel": LlamaBidirectional,
    "NomicBertModel": NomicBert,
    "Qwen2ForProcessRewardModel": Qwen2ProcessReward,
    "Qwen2ForRewardModel": ScoresWithoutActivation,
    "SnowflakeGteNewModel": GteNew,
    "VoyageQwen3BidirectionalEmbedModel": Bidirectional,
    "XLMRobertaModel": JinaRoberta,
}


def fix_model_config(values: Mapping[str, Any], origins: Mapping[str, str],
                     source: str) -> tuple[dict[str, Any], dict[str, str]]:
    """(values, origins) after the architecture's fixup; keys that the user overrode keep the user's value."""
    name = values["architectures"][0]
    if name not in MODELS_CONFIG_MAP:
        return dict(values), dict(origins)
    draft = ModelConfigDraft(values, source)
    MODELS_CONFIG_MAP[name].verify_and_update_model_config(draft)
    changed = {key: value for key, value in draft.changes() if not is_override(origins.get(key))}
    return {**values, **changed}, {**origins, **dict.fromkeys(changed, fixup(name))}


def fix_engine_config(config: EngineConfig) -> EngineConfig:
    """The engine's config after the architecture's fixup."""
    found = MODELS_CONFIG_MAP.get(config.model.architecture)
    return config if found is None else found.verify_and_update_config(config)
