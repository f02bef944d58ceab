"""Texts that are longer than the context: embedded in parts, whose vectors are averaged, each by its tokens.

On request only (`PoolerConfig.enable_chunked_processing`). Of a model that pools by MEAN without layers behind it the
result is the mean of all tokens' states, though no part sees another.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from weft.config.pooler_config import PoolerConfig
from weft.engine.process.messages import EngineRequest, WireTensor
from weft.frontend.prompt_limit import PromptLimit
from weft.pooling_params import PoolingParams

_MAX_PARTS = 32      # of a text, where no max_embed_len says more


def pooled_limit(task: str | None, max_len: int, config: PoolerConfig | None) -> PromptLimit:
    """The limit of a prompt to pool: the context, or the parts that the user allows. max_len: tokens of the context."""
    if config is None or not config.enable_chunked_processing or task != "embed":
        return PromptLimit(max_len, f"up to max_model_len = {max_len} tokens")
    longest = max(config.max_embed_len or _MAX_PARTS * max_len, max_len)
    return PromptLimit(longest, f"up to max_embed_len = {longest} tokens")


def in_parts(request: EngineRequest, max_len: int) -> list[EngineRequest]:
    """The requests for a prompt's parts of at most `max_len` tokens: itself if it is no longer."""
    ids, types = request.prompt_token_ids, request.token_type_ids
    if len(ids) <= max_len:
        return [request]
    assert isinstance(request.params, PoolingParams), "only prompts to pool are divided"
    params = msgspec.structs.replace(request.params, use_activation=False)      # the average is scaled, not the parts
    return [msgspec.structs.replace(
        request, request_id=f"{number}_{request.request_id}", params=params,
        prompt_token_ids=ids[start : start + max_len], token_type_ids=types[start : start + max_len])
        for number, start in enumerate(range(0, len(ids), max_len))]


def joined(parts: Sequence[WireTensor], lens: Sequence[int], *, normalizes: bool) -> WireTensor:
    """The average of the parts' vectors, weighted by their tokens; scaled to length 1 if asked for."""
    rows = np.stack([np.frombuffer(part.data, dtype=np.float32) for part in parts]).astype(np.float64)
    mean = np.average(rows, axis=0, weights=lens)
    norm = np.linalg.norm(mean)
    mean = mean / norm if normalizes and norm else mean
    return WireTensor("float32", list(parts[0].shape), mean.astype(np.float32).tobytes())
