"""What some config classes work out from other values: drafts of speculative decoding, and the first Falcon.

Each takes a config's values and returns those it changes or adds. A value of a type it cannot use is left for its
reader to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MEDUSA_LENGTH = 2**20


def refined_web(values: Mapping[str, Any]) -> dict[str, Any]:
    """The first Falcons: 40b (hidden_size 8192) has the new layout of a layer, the others one key-value head."""
    if values.get("hidden_size") == 8192:
        return {"new_decoder_architecture": True}
    return {"num_kv_heads": 1} if values.get("num_kv_heads") is None else {}


def eagle(values: Mapping[str, Any]) -> dict[str, Any]:
    """EAGLE drafts wrap the config of a small model in `model`; its keys count, and its architecture gets a prefix."""
    inner = values.get("model")
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


def medusa(values: Mapping[str, Any]) -> dict[str, Any]:
    """Medusa heads: the number of heads and of their layers under the names that checkpoints use for them."""
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


def mlp_speculator(values: Mapping[str, Any]) -> dict[str, Any]:
    """MLP speculators: how many candidates each head keeps, 5, 4, 3, … where the config does not say."""
    found: dict[str, Any] = {"num_lookahead_tokens": values.get("n_predict")}
    heads = values.get("n_predict")
    if values.get("top_k_tokens_per_head") is None and isinstance(heads, int) and 0 < heads < 100:
        found["top_k_tokens_per_head"] = [max(5 - head, 1) for head in range(heads)]
    if not values.get("architectures"):
        found["architectures"] = ["MLPSpeculatorPreTrainedModel"]
    return found


def speculators(values: Mapping[str, Any]) -> dict[str, Any]:
    """Drafts of the speculators library: the draft's own layers, its method, its verifier, how far it looks ahead."""
    found: dict[str, Any] = {}
    layers = values.get("transformer_layer_config")
    if isinstance(layers, Mapping):
        found |= {key: value for key, value in layers.items() if key not in values}
    found["method"] = values.get("speculators_model_type")
    settings = values.get("speculators_config")
    if isinstance(settings, Mapping):
        proposals = settings.get("proposal_methods")
        if isinstance(proposals, list) and proposals and isinstance(proposals[0], Mapping):
            found["num_lookahead_tokens"] = proposals[0].get("speculative_tokens")
        verifier = settings.get("verifier")
        if isinstance(verifier, Mapping):
            found["target_model"] = verifier.get("name_or_path")
    return found
