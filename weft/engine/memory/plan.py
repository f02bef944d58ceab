"""The memory plan: bytes of weights, activations and cache, computed before a weight is read.

The plan follows from the built model's sizes, the options and the machine's memory. Options left open (context length,
cache size) are fitted. A set option that does not fit is a `MemoryPlanError` with the need and the largest value.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from weft.cache.groups import CacheGroup, FullGroup, WindowGroup
from weft.cache.masks import Bidirectional
from weft.cache.need import cache_groups
from weft.config.engine_config import CacheConfig, EngineConfig, SchedulerConfig
from weft.config.human_bytes import human_bytes
from weft.config.machine import Machine
from weft.engine.memory.cache_fit import CacheFit
from weft.errors import ConfigError, MemoryPlanError
from weft.layers.layer import StepLimits
from weft.models.engine_model import EngineModel

logger = logging.getLogger("weft")

DEFAULT_CACHE_BYTES = 4 << 30        # an unset cache size is at most this, or one whole context if that needs more
STATE_INTERVAL_BLOCKS = 16           # blocks of tokens from one snapshot of a sequence's states to the next


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes by purpose, and the resulting sizes.

    scratch_bytes: what a step needs for cached tokens beside the cache. num_blocks: blocks of each cache group.
    max_model_len: tokens, perhaps fewer than the model supports.
    limit_bytes: bytes that the engine may use. limit_source: where `limit_bytes` comes from, as words.
    is_whole: each prompt is computed in one step.
    """

    weight_bytes: int
    activation_bytes: int
    kv_cache_bytes: int
    scratch_bytes: int
    groups: tuple[CacheGroup, ...]
    num_blocks: tuple[int, ...]
    block_size: int
    max_model_len: int
    limit_bytes: int
    limit_source: str
    is_whole: bool = False

    @property
    def total_bytes(self) -> int:
        return self.weight_bytes + self.activation_bytes + self.kv_cache_bytes + self.scratch_bytes

    @property
    def num_cache_tokens(self) -> int:
        """Tokens, of all sequences together, that the token groups can hold; 0 without such groups.

        Window groups count only in a model without full groups.
        """
        counts = list(zip(self.num_blocks, self.groups, strict=True))
        whole = [num for num, group in counts if isinstance(group, FullGroup)]
        windows = [num for num, group in counts if isinstance(group, WindowGroup)]
        return min(whole or windows, default=0) * self.block_size


def step_limits(config: EngineConfig) -> StepLimits:
    """The largest step that the options allow: tokens, sampled rows, context and threads."""
    num_tokens, speculative = config.scheduler.max_num_batched_tokens, config.speculative
    num_rows = config.scheduler.max_num_seqs * (1 + (speculative.num_speculative_tokens if speculative else 0))
    return StepLimits(num_tokens=num_tokens, num_wanted_rows=min(num_rows, num_tokens),
                      max_model_len=config.model.max_model_len, num_threads=config.num_threads)


def planned_groups(built: EngineModel, config: EngineConfig) -> tuple[CacheGroup, ...]:
    """The cache groups of a model's layers."""
    size = config.cache.block_size
    return cache_groups([layer.need for layer in built.caches], block_size=size,
                        state_interval=STATE_INTERVAL_BLOCKS * size)


def plan_memory(built: EngineModel, config: EngineConfig, machine: Machine) -> MemoryPlan:
    """Fit weights, activations and cache into the available memory. MemoryPlanError if they do not fit."""
    return plan_within(built, config, *_limit(config.cache, machine))


def plan_within(built: EngineModel, config: EngineConfig, limit: int, source: str) -> MemoryPlan:
    """Fit weights, activations and cache into `limit` bytes. MemoryPlanError if they do not fit.

    source: where the limit comes from, as words.
    """
    model, cache = config.model, config.cache
    weights, activations = built.weight_bytes(), built.step_bytes(step_limits(config))
    groups = planned_groups(built, config)
    per_token = sum(group.bytes_per_token for group in groups if isinstance(group, FullGroup | WindowGroup))
    overhead = built.bytes_per_cached_token() / per_token if per_token else 0
    room = int((limit - weights - activations) / (1 + overhead))
    if room <= 0:
        raise MemoryPlanError(f"The model needs {human_bytes(weights)} for weights and {human_bytes(activations)} for "
                              f"activations; there are {human_bytes(limit)} ({source}). Use a smaller dtype or model, "
                              "or lower max_num_batched_tokens.")
    fit = _cache_fit(built, groups, config)
    budget = cache.kv_cache_memory_bytes
    if budget is None:
        budget = min(room, max(DEFAULT_CACHE_BYTES, fit.least_bytes(model.max_model_len)))
    elif budget > room:
        raise MemoryPlanError(f"kv_cache_memory_bytes = {budget}: this does not fit beside {human_bytes(weights)} of "
                              f"weights and {human_bytes(activations)} of activations in {human_bytes(limit)} "
                              f"({source}). The largest value that fits is {room}.")
    counts, fitting = fit.fit(budget)
    length = _context(_wanted_len(built, groups, config), fitting, config, budget, fit)
    used = sum(num * group.block_bytes for num, group in zip(counts, groups, strict=True))
    return MemoryPlan(weight_bytes=weights, activation_bytes=activations, kv_cache_bytes=used,
                      scratch_bytes=int(used * overhead), groups=groups, num_blocks=counts, block_size=cache.block_size,
                      max_model_len=length, limit_bytes=limit, limit_source=source,
                      is_whole=computes_whole_prompts(built, groups))


def _limit(cache: CacheConfig, machine: Machine) -> tuple[int, str]:
    """The bytes that the engine may use, and where this number comes from."""
    available = machine.available_bytes
    limit = int(available.value * cache.memory_utilization)
    if cache.memory_bytes is not None and cache.memory_bytes < limit:
        return cache.memory_bytes, "what there is for this model among others"
    return limit, f"{cache.memory_utilization:g} of {human_bytes(available.value)}, {available.source}"


def least_bytes(built: EngineModel, config: EngineConfig, plan: MemoryPlan) -> int:
    """The bytes of `plan` with the smallest cache that will do: one for one sequence of the plan's length, or the size
    that the user has set.
    """
    cache = config.cache.kv_cache_memory_bytes
    if cache is None:
        cache = min(_cache_fit(built, plan.groups, config).least_bytes(plan.max_model_len), plan.kv_cache_bytes)
    scratch = math.ceil(cache * plan.scratch_bytes / plan.kv_cache_bytes) if plan.kv_cache_bytes else 0
    return plan.weight_bytes + plan.activation_bytes + cache + scratch + 1      # the plan rounds down


def _cache_fit(built: EngineModel, groups: Sequence[CacheGroup], config: EngineConfig) -> CacheFit:
    encoder_len = 0 if built.encoder is None else built.encoder.max_len or config.model.max_model_len
    return CacheFit(groups, config, max_encoder_len=encoder_len)


def computes_whole_prompts(built: EngineModel, groups: Sequence[CacheGroup]) -> bool:
    """True where a prompt cannot be computed in chunks: a token sees later tokens, or a pooler needs all states."""
    if built.pooler is not None and built.pooler.needs_whole_prompt:
        return True
    return any(isinstance(group, FullGroup | WindowGroup) and isinstance(group.mask, Bidirectional) for group in groups)


def scheduler_config(config: EngineConfig, plan: MemoryPlan) -> SchedulerConfig:
    """The scheduler's options for this model; no chunked prefill if a prompt must be computed whole."""
    if plan.is_whole:
        return replace(config.scheduler, enable_chunked_prefill=False)
    return config.scheduler


def _wanted_len(built: EngineModel, groups: Sequence[CacheGroup], config: EngineConfig) -> int:
    """`max_model_len`, lowered to the model's positions and, for whole prompts, to the step's tokens.

    ConfigError if the user has set a longer one.
    """
    length = config.model.max_model_len
    limits = []
    if built.num_positions is not None:
        limits.append((built.num_positions, "the positions that the model has", "The model was made for no more."))
    if computes_whole_prompts(built, groups):
        limits.append((config.scheduler.max_num_batched_tokens, "max_num_batched_tokens",
                       "A prompt is computed in one step, because its tokens or its pooling need all of it."))
    for limit, name, why in limits:
        if length > limit and config.model.is_max_model_len_fixed:
            raise ConfigError("max_model_len", length, expected=f"at most {limit}, {name}", hint=why)
        if length > limit:
            logger.warning("max_model_len is %d, %s, instead of %d. %s", limit, name, length, why)
            length = limit
    return length


def _context(wanted: int, fitting: int, config: EngineConfig, budget: int, fit: CacheFit) -> int:
    """The context length in tokens: `wanted`, or `fitting` if the cache holds fewer.

    MemoryPlanError if the user has set a length that does not fit.
    """
    if wanted <= fitting:
        return wanted
    if fitting < 1:
        raise MemoryPlanError(f"{human_bytes(budget)} of cache do not hold the shortest sequence: give at least "
                              f"{fit.least_bytes(1)} bytes as kv_cache_memory_bytes, or free memory.")
    if config.model.is_max_model_len_fixed:
        raise MemoryPlanError(
            f"max_model_len = {wanted} needs {fit.least_bytes(wanted)} bytes of cache; there are "
            f"{budget}. The largest max_model_len that fits is {fitting}; or raise kv_cache_memory_bytes.")
    return fitting
