"""Fixups: what an architecture needs of its config beyond what the file says, as a table from names to small classes.

A fixup sees a draft of the model's config and sets attributes on it; each key it sets has the fixup as its origin, and
what the user overrode stays. Knows no tensors. Source of the cases: the configs of the named models.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from weft.config.engine_config import EngineConfig
from weft.errors import ConfigError
from weft.resolve.origin import fixup, is_override


class ConfigView:
    """A config's keys as attributes; a missing one is None. `set_keys` are those that were assigned."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        object.__setattr__(self, "_values", dict(values))
        object.__setattr__(self, "set_keys", {})

    def __getattr__(self, name: str) -> Any:
        return self._values.get(name)

    def all_values(self) -> dict[str, Any]:
        """The keys as they are now."""
        return dict(self._values)

    def __setattr__(self, name: str, value: Any) -> None:
        self._values[name] = value
        self.set_keys[name] = value


class ModelConfigDraft:
    """What `verify_and_update_model_config` gets: the config, and what the model's pooler does unless it is told."""

    def __init__(self, values: Mapping[str, Any], source: str) -> None:
        self.hf_config = ConfigView(values)
        given = values.get("pooler_config")
        self.pooler_config = ConfigView(given if isinstance(given, Mapping) else {})
        self.source = source

    def error(self, key: str, value: Any, expected: str) -> ConfigError:
        """A ConfigError about a key of the config."""
        return ConfigError(key, value, expected=expected, source=self.source)

    def changes(self) -> Iterator[tuple[str, Any]]:
        """(key, value) of what was set; the pooler's settings are an object under `pooler_config`."""
        yield from self.hf_config.set_keys.items()
        if self.pooler_config.set_keys:
            yield "pooler_config", self.pooler_config.all_values()


class VerifyAndUpdateConfig:
    """Base of fixups. Either method may do nothing."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Check and change the model's config."""

    @staticmethod
    def verify_and_update_config(config: EngineConfig) -> EngineConfig:
        """The engine's config, checked, or another in its place."""
        return config


class CausalByFlag(VerifyAndUpdateConfig):
    """Embedding models whose config says with `use_bidirectional_attention` that tokens see those after them."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Causal unless the flag is set."""
        model_config.hf_config.is_causal = not model_config.hf_config.use_bidirectional_attention


class Bidirectional(VerifyAndUpdateConfig):
    """Decoders that were trained on as encoders."""

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
    """Llama as an encoder; the config's `pooling` says how its tokens become one vector."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """Not causal, and the pooling named."""
        Bidirectional.verify_and_update_model_config(model_config)
        pooling = model_config.hf_config.pooling
        if pooling is None:
            return
        if not isinstance(pooling, str) or pooling not in _POOLING:
            raise model_config.error("pooling", pooling, f"one of {', '.join(_POOLING)}")
        model_config.pooler_config.seq_pooling_type = _POOLING[pooling]


class _EncoderRotary(VerifyAndUpdateConfig):
    """Encoders with rotary positions: `rotary_kwargs` says what their rotary embedding is made with."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """`rotary_kwargs` from head size, length and rope parameters."""
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
    """GTE and Snowflake's models of the same code: a gated GELU that the config calls `gelu`."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """`geglu`, and the rotary arguments."""
        if model_config.hf_config.hidden_act == "gelu":
            model_config.hf_config.hidden_act = "geglu"
        _EncoderRotary.verify_and_update_model_config(model_config)


_NOMIC_RENAMES = {
    "n_inner": "intermediate_size", "n_embd": "hidden_size", "n_head": "num_attention_heads",
    "n_layer": "num_hidden_layers", "activation_function": "hidden_act", "layer_norm_epsilon": "layer_norm_eps",
    "n_positions": "max_position_embeddings",
}


class NomicBert(_EncoderRotary):
    """Nomic BERT: GPT-2's names, a gated SiLU called `swiglu`, one length for training and one for use."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """The usual names, `silu`, and the rotary arguments."""
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
        """The rotary arguments, where the config has such positions."""
        if model_config.hf_config.position_embedding_type == "rotary":
            _EncoderRotary.verify_and_update_model_config(model_config)


class Qwen2ProcessReward(VerifyAndUpdateConfig):
    """Qwen2 process reward: a score at each step mark."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """The mark's token."""
        model_config.pooler_config.step_tag_id = 151651


class ScoresWithoutActivation(VerifyAndUpdateConfig):
    """Scores that are the head's output as it is."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """No activation over the classes."""
        model_config.pooler_config.use_activation = False


class Dbrx(VerifyAndUpdateConfig):
    """DBRX: the rotary base stands in `attn_config`, where Transformers' class does not look for it."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """`rope_parameters` with that base, unless they have one."""
        c = model_config.hf_config
        theta = (c.attn_config or {}).get("rope_theta")
        if theta is not None and "rope_theta" not in (c.rope_parameters or {}):
            c.rope_parameters = {"rope_type": "default", **(c.rope_parameters or {}), "rope_theta": theta}


class JinaVLRanking(VerifyAndUpdateConfig):
    """Jina's vision reranker: one score, moved by the mean of its logits."""

    @staticmethod
    def verify_and_update_model_config(model_config: ModelConfigDraft) -> None:
        """One label, and the mean."""
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
    """The config as its architecture's fixup leaves it, and the origins; what the user overrode is not touched."""
    name = values["architectures"][0]
    if name not in MODELS_CONFIG_MAP:
        return dict(values), dict(origins)
    draft = ModelConfigDraft(values, source)
    MODELS_CONFIG_MAP[name].verify_and_update_model_config(draft)
    changed = {key: value for key, value in draft.changes() if not is_override(origins.get(key))}
    return {**values, **changed}, {**origins, **dict.fromkeys(changed, fixup(name))}


def fix_engine_config(config: EngineConfig) -> EngineConfig:
    """The engine's config as the architecture's fixup leaves it."""
    found = MODELS_CONFIG_MAP.get(config.model.architecture)
    return config if found is None else found.verify_and_update_config(config)
