"""Tiny random checkpoints of the text architectures that Transformers has, in a few variants each.

    python tools/tiny_models.py list [--kind causal|seq2seq]       names of architectures
    python tools/tiny_models.py NAME DIRECTORY [--variant VARIANT] [--kind KIND]

A name is an architecture, or ARCHITECTURE@MODEL_TYPE where a class has several model types. tiny_models.json has the
sizes: "fields" for each config class that has such a field, "models" what a model type needs besides. Transformers
clears the padding token's row of an embedding when it loads the model types of "no_padding_row". The weights
follow from the name: equal versions of torch and Transformers write equal files.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

DATA: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
KINDS = {"causal": "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", "seq2seq": "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"}
# Standard deviations: of an embedding or a head, of an embedding that is the head, too, and of another matrix times the
# square root of the number of its inputs.
TOKEN_STD, TIED_STD, GAIN = 0.3, 0.15, 1.6
NEAR_STD = 0.1              # of what is added to vectors
VARIANTS = ("plain", "grouped", "windowed")


def catalogue(kind: str) -> dict[str, tuple[str, str]]:
    """{name: (architecture, model type)} of a kind in KINDS, without classes that also need images or sound."""
    import transformers
    from transformers.models.auto import modeling_auto as auto

    media = (auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, auto.MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
             auto.MODEL_FOR_SPEECH_SEQ_2_SEQ_MAPPING_NAMES)
    found: dict[str, tuple[str, str]] = {}
    for model_type, names in getattr(auto, KINDS[kind]).items():
        for name in (names,) if isinstance(names, str) else names[:1]:
            if any(table.get(model_type) == name for table in media) or model_type in DATA["not_text"]:
                continue
            own = getattr(getattr(transformers, name, None), "config_class", None)
            is_own = own is None or own.model_type == model_type
            found[name if is_own else f"{name}@{model_type}"] = (name, model_type)
    return found


def make(name: str, directory: Path, variant: str = "plain", kind: str = "causal", draw: int = 0) -> None:
    """Writes config.json and model.safetensors. ValueError for a variant that does not differ from "plain".

    draw: a number; other weights for each.
    """
    import torch
    import transformers

    architecture, model_type = catalogue(kind)[name]
    cls = getattr(transformers, architecture)
    source = f"{name}/{variant}/{draw}" if draw else f"{name}/{variant}"
    seed = int.from_bytes(hashlib.sha256(source.encode()).digest()[:6], "big")
    torch.manual_seed(seed)
    model = cls(config(architecture, model_type, variant)).float().eval()
    fill(model, seed)
    model.generation_config = transformers.GenerationConfig.from_model_config(model.config)
    if kind == "causal":        # a forced token is not the model's choice
        model.generation_config.forced_eos_token_id = model.generation_config.forced_bos_token_id = None
    model.save_pretrained(directory)


def config(architecture: str, model_type: str, variant: str = "plain") -> Any:
    """A tiny configuration of the class in Transformers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    cls = CONFIG_MAPPING[model_type]
    values = small(cls)
    for flag, names in DATA["decoders_by_flag"].items():
        if architecture in names:
            values[flag] = True
    if variant != "plain":
        changed = varied(cls, values, variant)
        if not changed:
            raise ValueError(f"{architecture} has no variant {variant!r}")
        values = merged(values, changed)
    found = cls(**values)
    if found.is_encoder_decoder and getattr(found, "decoder_start_token_id", None) is None:
        found.decoder_start_token_id = DATA["fields"]["decoder_start_token_id"]
    found.architectures = [architecture]
    return found


def small(cls: Any) -> dict[str, Any]:
    """The arguments that make a config class tiny, those of configs within it among them."""
    own = own_fields(cls)
    values = {name: value for name, value in DATA["fields"].items()
              if name in own and (own[name] is not None or name in DATA["also_if_null"])}
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    for key, sub in (getattr(cls, "sub_configs", None) or {}).items():
        model_type = DATA["models"].get(cls.model_type, {}).get(key, {}).get("model_type")
        chosen = CONFIG_MAPPING[model_type] if model_type else sub
        if hasattr(chosen, "model_type") and chosen.model_type:
            values[key] = small(chosen) | {"model_type": chosen.model_type}
    if "kv_lora_rank" in values and "num_key_value_heads" in values:       # latent attention has no groups
        values["num_key_value_heads"] = values["num_attention_heads"]
    return merged(values, DATA["models"].get(cls.model_type, {}))


def own_fields(cls: Any) -> dict[str, Any]:
    """{field: default} of a config class, without the fields that all classes have (but the tokens' ids)."""
    from transformers import PreTrainedConfig

    common = {field.name for field in fields(PreTrainedConfig)}
    return {field.name: field.default_factory() if field.default_factory is not MISSING else field.default
            for field in fields(cls) if field.name not in common}


def varied(cls: Any, values: Mapping[str, Any], variant: str) -> dict[str, Any]:
    """What a variant changes: key/value heads and the tied head ("grouped"), windows and rope ("windowed"), or one
    switch ("NAME=JSON")."""
    own = own_fields(cls)
    if "=" in variant:
        key, _, value = variant.partition("=")
        return {key: json.loads(value)}
    changed: dict[str, Any] = {}
    if variant == "grouped":
        heads = values.get("num_attention_heads")
        is_free = "num_key_value_heads" not in DATA["models"].get(cls.model_type, {}) and "kv_lora_rank" not in own
        if heads and is_free and "num_key_value_heads" in own:
            changed["num_key_value_heads"] = 1 if own["num_key_value_heads"] else heads
        if isinstance(own.get("tie_word_embeddings"), bool):
            changed["tie_word_embeddings"] = not own["tie_word_embeddings"]
    elif variant == "windowed":
        layers = values.get("num_hidden_layers")
        if "layer_types" in own and "sliding_window" in own and "layer_types" not in values and layers:
            changed |= {"layer_types": ["sliding_attention", "full_attention"] * (layers // 2), "sliding_window": 8}
        elif "sliding_window" in own:
            changed["sliding_window"] = 8
        if "use_sliding_window" in own:
            changed["use_sliding_window"] = True
        if own.get("rope_parameters", MISSING) is None and "layer_types" not in changed:
            changed["rope_parameters"] = {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}
    else:
        raise ValueError(f"variant {variant!r}: expected one of {', '.join(VARIANTS)}, or NAME=JSON")
    return changed


def switches(architecture: str, model_type: str) -> list[str]:
    """A variant "NAME=JSON" for each field that is true or false, with the other value."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    flags = {name: value for name, value in own_fields(CONFIG_MAPPING[model_type]).items()
             if isinstance(value, bool) and not name.startswith(("use_cache", "output_", "return_"))}
    return [f"{name}={json.dumps(not value)}" for name, value in flags.items()]


def merged(values: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """changed over values, dictionary by dictionary."""
    out = dict(values)
    for key, value in changed.items():
        if isinstance(value, dict) and isinstance(out.get(key), dict):
            out[key] = merged(out[key], value)
        else:
            out[key] = value
    return out


def fill(model: Any, seed: int) -> None:
    """Random weights: each tensor differs from its first value, so that one read wrongly or not at all shows."""
    import torch
    from torch import nn

    head = model.get_output_embeddings()
    head = None if head is None else id(head.weight)
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    stored_in_out = {id(module.weight) for module in model.modules() if type(module).__name__ == "Conv1D"}
    saved = model.state_dict().keys()
    tensors = [*model.named_parameters(), *((n, b) for n, b in model.named_buffers() if n in saved)]
    with torch.no_grad():
        for name, tensor in tensors:
            is_table = isinstance(tensor, nn.Parameter) and not tensor.requires_grad        # of sines and cosines
            if is_table or not tensor.is_floating_point() or re.search(DATA["kept"], name):
                continue
            own = int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:7], "big")
            noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(own))
            if tensor.dim() < 2 or re.search(DATA["close_to_start"], name):
                tensor.add_(noise * NEAR_STD)
            elif id(tensor) in embeddings or id(tensor) == head:
                tensor.copy_(noise * (TIED_STD if head in embeddings and id(tensor) == head else TOKEN_STD))
            else:
                inputs = tensor.shape[0 if id(tensor) in stored_in_out else -1]
                tensor.copy_(noise * min(0.3, max(0.1, inputs ** -0.5)) * GAIN)
        if model.config.model_type in DATA["no_padding_row"]:
            model.get_input_embeddings().weight[model.config.pad_token_id] = 0.0
        model.tie_weights()


def main() -> int:
    """Lists, or writes one checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name")
    parser.add_argument("directory", type=Path, nargs="?")
    parser.add_argument("--kind", default="causal", choices=tuple(KINDS))
    parser.add_argument("--variant", default="plain")
    args = parser.parse_args()
    if args.name == "list":
        print("\n".join(catalogue(args.kind)))
        return 0
    if args.directory is None or args.name not in catalogue(args.kind):
        parser.error(f"expected \"list\", or a name of that list and a directory; got {args.name!r}, {args.directory}")
    make(args.name, args.directory, args.variant, args.kind)
    return 0


if __name__ == "__main__":
    sys.exit(main())
