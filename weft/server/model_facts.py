"""What `GET /v1/models` tells of the model besides OpenAI's fields: its defaults, its limits and what it is made of."""

from __future__ import annotations

from typing import Any

import msgspec

from weft.frontend.defaults import default_sampling_params
from weft.server.served import ServedModel

# Sampling fields that have a control on the playground, and whose defaults a model's generation config may change.
_DEFAULTS = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")


def model_facts(served: ServedModel) -> dict[str, Any]:
    """The facts, as JSON's types.

    sampling_defaults: what a request gets that leaves these fields out; max_tokens: null: what fits.
    can_score: whether it compares texts. has_chat: whether conversations can be answered. tool_calls: whether free
    calls of tools are found in answers.
    """
    engine, info = served.engine, served.engine.info
    model, params = engine.config.model, default_sampling_params(engine.config)
    cap = model.generation_defaults.get("max_new_tokens")
    return {
        "architecture": model.architecture, "dtype": model.dtype,
        "quantization": None if model.quantization is None else model.quantization.method,
        "tasks": info.tasks, "can_score": bool(info.pooling.score_type),
        "vocab_size": model.vocab_size, "max_logprobs": model.max_logprobs,
        "sampling_defaults": {name: getattr(params, name) for name in _DEFAULTS} | {"max_tokens": cap},
        "has_chat": engine.renderer is not None and engine.renderer.has_template,
        "tool_calls": served.parsers.tools is not None, "reasoning": served.parsers.reasoning is not None,
        "weight_bytes": info.weight_bytes, "activation_bytes": info.activation_bytes,
        "kv_cache_bytes": info.kv_cache_bytes, "block_size": info.block_size, "num_blocks": info.num_blocks,
        "load_seconds": info.load_seconds, "words": msgspec.to_builtins(info.words),
    }
