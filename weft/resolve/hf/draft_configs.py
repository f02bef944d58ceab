"""Config values of draft models (speculative decoding) that their config classes compute from other values.

Each function takes a reader of the config and returns the values to change or add. Source: the config classes of the
same names in github.com/vllm-project/vllm, transformers_utils/configs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from weft.architectures.reader import ConfigReader

MEDUSA_LENGTH = 2**20
MAX_HEADS = 100       # most heads of an MLP speculator; published ones have up to 5

# speculators_model_type -> {model_type of the draft's layers: draft class}; None stands for any other model_type.
SPECULATORS: Mapping[str, Mapping[str | None, str]] = {
    "dflash": {None: "DFlashDraftModel"},
    "dspark": {None: "Qwen3DSparkModel"},
    "eagle3": {"llama": "Eagle3LlamaForCausalLM", "qwen3": "Eagle3Qwen3ForCausalLM"},
    "mtp": {"qwen3_next": "Qwen3NextMTP"},
    "peagle": {"llama": "PeagleLlamaForCausalLM", "qwen3": "PeagleQwen3ForCausalLM"},
}


def eagle(c: ConfigReader) -> dict[str, Any]:
    """EAGLE drafts: the keys of the small model's config in `model`, with a prefix on its architecture's name."""
    values, inner = c.all_values(), c.value("model")
    found = dict(inner) if isinstance(inner, Mapping) else {}
    found.pop("model_type", None)
    prefix = "Eagle3" if values.get("method") == "eagle3" else "Eagle"
    names = found.get("architectures") or values.get("architectures")
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        found["architectures"] = [name if name.startswith("Eagle") or name.endswith("Eagle3") else f"{prefix}{name}"
                                  for name in names]
    if values.get("truncated_vocab_size") is None:
        vocab = found.get("vocab_size", values.get("vocab_size"))
        found |= {} if vocab is None else {"truncated_vocab_size": vocab}
    return found


def medusa(c: ConfigReader) -> dict[str, Any]:
    """Medusa heads: the numbers of heads and layers, which checkpoints have under varying names."""
    values = c.all_values()
    found: dict[str, Any] = {"architectures": ["MedusaModel"], "max_seq_len": MEDUSA_LENGTH}
    for key, value in values.items():
        if "num" in key and "heads" in key and key != "num_heads":
            found["num_heads"] = value
        if "num" in key and "layers" in key and key != "num_hidden_layers":
            found["num_hidden_layers"] = value
    found["num_lookahead_tokens"] = found.get("num_heads", values.get("num_heads"))
    if values.get("truncated_vocab_size") is None:
        found["truncated_vocab_size"] = values.get("vocab_size")
    return found


def mlp_speculator(c: ConfigReader) -> dict[str, Any]:
    """MLP speculators: the number of candidates that each head keeps, by default 5, 4, 3, 2, 1, 1, …

    ConfigError unless there is one number for each of the `n_predict` heads.
    """
    heads = c.positive("n_predict", default=None)
    found: dict[str, Any] = {"num_lookahead_tokens": heads}
    if heads is not None and heads > MAX_HEADS:
        raise c.error("n_predict", heads, f"an integer from 1 to {MAX_HEADS}")
    kept = c.list("top_k_tokens_per_head", default=None)
    if kept is None and heads is not None:
        found["top_k_tokens_per_head"] = [max(5 - head, 1) for head in range(heads)]
    elif heads is not None and kept is not None and len(kept) != heads:
        raise c.error("top_k_tokens_per_head", kept, f"{heads} numbers, as many as n_predict, not {len(kept)}")
    if not c.value("architectures"):
        found["architectures"] = ["MLPSpeculatorPreTrainedModel"]
    return found


def speculators(c: ConfigReader) -> dict[str, Any]:
    """Drafts of the speculators library: the draft's class and layers, method, target model and number of draft tokens.

    ConfigError for a method, or a model_type of the layers, that has no draft class.
    """
    method = c.choice("speculators_model_type", allowed=SPECULATORS)
    layers = c.dict("transformer_layer_config", default=None) or {}
    found: dict[str, Any] = {key: value for key, value in layers.items() if not c.is_given(key)}
    found |= {"method": method, "architectures": [_draft_class(c, method, layers)]}
    if not c.is_given("norm_before_residual") and method in ("eagle3", "peagle"):
        found["norm_before_residual"] = method == "eagle3"
    settings = c.value("speculators_config")
    if isinstance(settings, Mapping):
        proposals = settings.get("proposal_methods")
        if isinstance(proposals, list) and proposals and isinstance(proposals[0], Mapping):
            found["num_lookahead_tokens"] = proposals[0].get("speculative_tokens")
        verifier = settings.get("verifier")
        if isinstance(verifier, Mapping):
            found["target_model"] = verifier.get("name_or_path")
    return found


def _draft_class(c: ConfigReader, method: str, layers: Mapping[str, Any]) -> str:
    classes, kind = SPECULATORS[method], layers.get("model_type", "llama")
    if None in classes or kind in classes:
        return classes[kind if kind in classes else None]
    raise c.sub("transformer_layer_config").error(
        "model_type", kind, f"one of {', '.join(filter(None, classes))}, whose layers vLLM has a draft of {method} for")
