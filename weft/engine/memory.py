"""The memory plan: weights, activations and cache, before a weight is read.

From the spec, the checkpoint's headers, the options and the machine's memory. What the user left open (context, cache
size) is fitted; what the user set and does not fit is a `MemoryPlanError` with need, have and the largest that fits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from weft.architectures.sizes import cache_groups
from weft.architectures.spec import DecoderSpec
from weft.cache.groups import CacheGroup
from weft.checkpoint.reader import Checkpoint
from weft.config.engine_config import EngineConfig
from weft.config.machine import Machine
from weft.engine.activation_bytes import activation_bytes, cache_overhead
from weft.engine.weight_bytes import weight_bytes
from weft.errors import MemoryPlanError

DEFAULT_CACHE_BYTES = 4 << 30        # unless set, the cache takes no more than this, or than one whole context


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes by purpose, and what they buy.

    num_blocks: of each cache group. max_model_len: tokens, perhaps fewer than the model could.
    limit_bytes: what the engine may use, and limit_source where that number comes from.
    """

    weight_bytes: int
    activation_bytes: int
    kv_cache_bytes: int
    groups: tuple[CacheGroup, ...]
    num_blocks: tuple[int, ...]
    block_size: int
    max_model_len: int
    limit_bytes: int
    limit_source: str

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.activation_bytes + self.kv_cache_bytes

    @property
    def num_cache_tokens(self) -> int:
        """Tokens of a sequence (or of several) that all groups can hold together."""
        whole = [n for n, group in zip(self.num_blocks, self.groups, strict=True) if group.window is None]
        return min(whole or self.num_blocks, default=0) * self.block_size


def plan_memory(spec: DecoderSpec, config: EngineConfig, machine: Machine, *, checkpoint: Checkpoint | None = None,
                has_own_head: bool | None = None) -> MemoryPlan:
    """Fit weights, activations and cache into the memory there is. MemoryPlanError when they do not fit.

    checkpoint: whose headers say which weights stay codes; None: all are floats.
    """
    model, cache = config.model, config.cache
    weights = weight_bytes(spec, config, checkpoint, has_own_head=has_own_head)
    activations = activation_bytes(spec, config)
    groups = cache_groups(spec, cache.dtype, cache.block_size)
    overhead = cache_overhead(spec, config, sum(group.bytes_per_token for group in groups))
    limit = int(machine.available_bytes.value * cache.memory_utilization)
    source = f"{cache.memory_utilization:g} of {_size(machine.available_bytes.value)}, {machine.available_bytes.source}"
    room = int((limit - weights - activations) / (1 + overhead))
    if room <= 0:
        raise MemoryPlanError(f"The model needs {_size(weights)} for weights and {_size(activations)} for activations; "
                              f"there are {_size(limit)} ({source}). Use a smaller dtype or model, or lower "
                              "max_num_batched_tokens.")
    fit = _Fit(groups, config)
    budget = cache.kv_cache_memory_bytes
    if budget is None:
        budget = min(room, max(DEFAULT_CACHE_BYTES, fit.bytes_for(fit.context_blocks(model.max_model_len))))
    elif budget > room:
        raise MemoryPlanError(f"kv_cache_memory_bytes = {budget}: this does not fit beside {_size(weights)} of "
                              f"weights and {_size(activations)} of activations in {_size(limit)} ({source}). "
                              f"The largest value that fits is {room}.")
    blocks = fit.largest(budget)
    length = _context(model.max_model_len, blocks * cache.block_size, config, budget, fit)
    counts = fit.num_blocks(min(blocks, max(fit.caps)))
    used = sum(n * g.bytes_per_token for n, g in zip(counts, groups, strict=True)) * cache.block_size
    return MemoryPlan(weight_bytes=weights, activation_bytes=activations, kv_cache_bytes=used, groups=groups,
                      num_blocks=counts, block_size=cache.block_size, max_model_len=length, limit_bytes=limit,
                      limit_source=source)


def _context(wanted: int, fitting: int, config: EngineConfig, budget: int, fit: _Fit) -> int:
    """Tokens a sequence may have. A set length that does not fit is an error."""
    if wanted <= fitting:
        return wanted
    if fitting < 1:
        raise MemoryPlanError(f"{_size(budget)} of cache hold no block of {config.cache.block_size} tokens: give at "
                              f"least {fit.bytes_for(1)} bytes as kv_cache_memory_bytes, or free memory.")
    if config.model.is_max_model_len_fixed:
        raise MemoryPlanError(
            f"max_model_len = {wanted} needs {fit.bytes_for(fit.context_blocks(wanted))} bytes of cache; there are "
            f"{budget}. The largest max_model_len that fits is {fitting}; or raise kv_cache_memory_bytes.")
    return fitting


class _Fit:
    """How many blocks each group gets for a number of whole-context blocks: a window group needs no more than `cap`."""

    def __init__(self, groups: Sequence[CacheGroup], config: EngineConfig) -> None:
        self.groups, self.block_size = groups, config.cache.block_size
        seqs, tokens = config.scheduler.max_num_seqs, config.scheduler.max_num_batched_tokens
        length = config.model.max_model_len
        self.caps = [
            seqs * self.context_blocks(length) if group.window is None else
            min(seqs * self.context_blocks(length),
                seqs * (group.num_blocks(length, 1, 0) + 1) + -(-tokens // self.block_size))
            for group in groups
        ]

    def context_blocks(self, num_tokens: int) -> int:
        return -(-num_tokens // self.block_size)

    def num_blocks(self, blocks: int) -> tuple[int, ...]:
        return tuple(min(blocks, cap) for cap in self.caps)

    def bytes_for(self, blocks: int) -> int:
        counts = self.num_blocks(blocks)
        return sum(n * g.bytes_per_token for n, g in zip(counts, self.groups, strict=True)) * self.block_size

    def largest(self, budget: int) -> int:
        """The most whole-context blocks whose groups fit the budget (no more than any sequence could use)."""
        low, high = 0, max(self.caps)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.bytes_for(middle) <= budget else (low, middle - 1)
        return low


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 2**30:.2f} GiB" if num_bytes >= 1 << 28 else f"{num_bytes / 2**20:.1f} MiB"
