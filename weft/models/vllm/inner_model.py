"""`init_vllm_registered_model`: the inner model of a model, by its config's architecture."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from torch import nn

from weft.errors import NotBuiltError
from weft.models.described import Described
from weft.models.registry import ModelRegistry
from weft.models.vllm.vllm_config import VllmConfig, set_current_vllm_config

# Architectures with a programmed class of weft's own: {name: module of weft.models.library}.
LIBRARY = {
    "LlamaForCausalLM": "llama", "MistralForCausalLM": "llama", "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3", "Gemma2ForCausalLM": "gemma2", "OPTForCausalLM": "opt", "GPT2LMHeadModel": "gpt2",
}
_CLASSES = {"MistralForCausalLM": "LlamaForCausalLM"}


def init_vllm_registered_model(vllm_config: VllmConfig, *, prefix: str = "", hf_config: Any = None,
                               architectures: list[str] | None = None) -> nn.Module:
    """A model inside another: made by the class that was registered for the architecture, or by weft's own.

    NotBuiltError for an architecture that weft knows by its description only, which is no torch module.
    """
    if hf_config is not None or architectures is not None:
        hf_config = vllm_config.model_config.hf_config if hf_config is None else hf_config
        vllm_config = vllm_config.with_hf_config(hf_config, architectures)
    cls = programmed_class(vllm_config.model_config.architectures)
    with set_current_vllm_config(vllm_config):
        return cls(vllm_config=vllm_config, prefix=prefix)


def programmed_class(architectures: list[str]) -> type[nn.Module]:
    """The programmed class of the first architecture that has one. NotBuiltError if none has."""
    for name in architectures:
        if name in ModelRegistry.models:
            found, _ = ModelRegistry.resolve_model_cls([name])
            if found is not Described:
                return found
        if name in LIBRARY:
            return getattr(import_module(f"weft.models.library.{LIBRARY[name]}"), _CLASSES.get(name, name))
    raise NotBuiltError("architectures", architectures, expected=f"one of {', '.join(LIBRARY)}, or a registered class",
                        hint="weft describes other architectures, and a description cannot be a part of a model.")
