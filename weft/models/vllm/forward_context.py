"""`get_forward_context`: what a model's layers may ask about the step that is running.

The owner of a model enters `running_step(…)` around each forward pass.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch

from weft.models.vllm.config_views import CUDAGraphMode
from weft.models.vllm.vllm_config import VllmConfig, get_current_vllm_config, set_current_vllm_config
from weft.ops.attention import AttentionPlan
from weft.ops.step import Step


@dataclass(frozen=True, kw_only=True)
class BatchDescriptor:
    """The size of a step, by which vLLM finds a captured graph."""

    num_tokens: int
    num_reqs: int | None = None
    uniform: bool = False
    has_lora: bool = False


class AttentionMetadata:
    """The rows of a step. S: sequences, T: tokens. Where keys lie in the cache, only weft's attention knows.

    query_start_loc: [S + 1] int32, first row of each sequence, and T. seq_lens: [S] int32, tokens with this step's.
    A sequence with one row and earlier tokens counts as a decode, any other as a prefill.
    """

    def __init__(self, query_lens: list[int], seq_lens: list[int]) -> None:
        starts = [0]
        for length in query_lens:
            starts.append(starts[-1] + length)
        self.num_actual_tokens = self.num_input_tokens = starts[-1]
        self.query_start_loc = torch.tensor(starts, dtype=torch.int32)
        self.query_start_loc_cpu = self.query_start_loc
        self.seq_lens = torch.tensor(seq_lens, dtype=torch.int32)
        self.max_query_len, self.max_seq_len = max(query_lens, default=0), max(seq_lens, default=0)
        decodes = [q == 1 and s > 1 for q, s in zip(query_lens, seq_lens, strict=True)]
        self.num_reqs, self.num_decodes = len(decodes), sum(decodes)
        self.num_decode_tokens = self.num_decodes
        self.num_prefills = self.num_reqs - self.num_decodes
        self.num_prefill_tokens = self.num_actual_tokens - self.num_decode_tokens

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"attn_metadata.{name}: weft's attention plans its cache itself; a model may read "
                             "query_start_loc, seq_lens, max_query_len, num_actual_tokens, num_prefills, num_decodes")


class _OfEveryLayer(Mapping[str, AttentionMetadata]):
    """{name of a layer: metadata}, where all layers share one."""

    def __init__(self, metadata: AttentionMetadata, layers: Mapping[str, Any]) -> None:
        self._metadata, self._layers = metadata, layers

    def __getitem__(self, name: str) -> AttentionMetadata:
        return self._metadata

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._metadata, name)


class NoCache(list[Any]):
    """What a model of generation g0, and each of its layers, gets as its cache: a list whose items are such lists."""

    def __getitem__(self, index: Any) -> NoCache:
        return self


@dataclass(kw_only=True)
class ForwardContext:
    """The step that runs. attn_metadata: {layer name: AttentionMetadata}, the same for each layer."""

    metadata: AttentionMetadata
    no_compile_layers: dict[str, Any]
    num_tokens: int
    batch_descriptor: BatchDescriptor
    virtual_engine: int = 0
    dp_metadata: None = None
    cudagraph_runtime_mode: Any = CUDAGraphMode.NONE

    @property
    def attn_metadata(self) -> Mapping[str, AttentionMetadata]:
        """The metadata of each layer."""
        return _OfEveryLayer(self.metadata, self.no_compile_layers)


_running: ContextVar[ForwardContext | Step | None] = ContextVar("forward_context", default=None)


@contextmanager
def running_step(step: Step, config: VllmConfig) -> Iterator[None]:
    """Within, `get_forward_context` tells about this step of the model that was made with `config`."""
    with set_current_vllm_config(config):
        token = _running.set(step)
        try:
            yield
        finally:
            _running.reset(token)


def is_forward_context_available() -> bool:
    """Whether a forward pass is running."""
    return _running.get() is not None


def get_forward_context() -> ForwardContext:
    """The running step. RuntimeError outside a forward pass."""
    found = _running.get()
    if found is None:
        raise RuntimeError("get_forward_context was called outside a forward pass.")
    if isinstance(found, Step):
        found = _context(found)
        _running.set(found)
    return found


def _context(step: Step) -> ForwardContext:
    plan = next((plan for plan in step.caches if isinstance(plan, AttentionPlan)), None)
    seq_lens = step.query_lens if plan is None else plan.seq_lens
    metadata = AttentionMetadata(list(step.query_lens), list(seq_lens))
    return ForwardContext(
        metadata=metadata, num_tokens=metadata.num_actual_tokens,
        no_compile_layers=get_current_vllm_config().compilation_config.static_forward_context,
        batch_descriptor=BatchDescriptor(num_tokens=metadata.num_actual_tokens, num_reqs=metadata.num_reqs))
