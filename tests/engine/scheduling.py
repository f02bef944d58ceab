"""A scheduler with small numbers, sequences of known tokens, and a model that needs no weights: for the tests here."""

from __future__ import annotations

from hashlib import sha256

from weft.cache.groups import CacheGroup, EncoderGroup, FullGroup, StateGroup, WindowGroup
from weft.cache.manager import CacheManager
from weft.config.engine_config import SchedulerConfig
from weft.engine.process.messages import EngineRequest
from weft.engine.scheduler import Scheduler
from weft.engine.sequence import Sequence
from weft.engine.step_plan import StepPlan
from weft.pooling_params import PoolingParams
from weft.sampling_params import SamplingParams

BLOCK_SIZE = 4
STATE_INTERVAL = 8

Kind = int | None | str      # of a group: its window, None for all tokens, "state" or "encoder"
EOS = 99


def make_cache(
    *, num_blocks: int | list[int] = 100, kinds: tuple[Kind, ...] = (None,), prefix_caching: bool = True
) -> CacheManager:
    counts = num_blocks if isinstance(num_blocks, list) else [num_blocks] * len(kinds)
    return CacheManager(make_groups(kinds), counts, prefix_caching)


def make_groups(kinds: tuple[Kind, ...]) -> list[CacheGroup]:
    return [make_group(layer, kind) for layer, kind in enumerate(kinds)]


def make_group(layer: int, kind: Kind) -> CacheGroup:
    if kind == "state":
        return StateGroup((layer,), 1000, STATE_INTERVAL)
    if kind == "encoder":
        return EncoderGroup((layer,), 8, BLOCK_SIZE)
    return FullGroup((layer,), 8, BLOCK_SIZE) if kind is None else WindowGroup(kind, (layer,), 8, BLOCK_SIZE)


def make_scheduler(
    *, num_blocks: int | list[int] = 100, kinds: tuple[Kind, ...] = (None,), prefix_caching: bool = True,
    max_num_seqs: int = 8, max_num_batched_tokens: int = 64, max_model_len: int = 64, has_drafts: bool = False,
    **config,
) -> Scheduler:
    cache = make_cache(num_blocks=num_blocks, kinds=kinds, prefix_caching=prefix_caching)
    limits = SchedulerConfig(max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens, **config)
    return Scheduler(limits, cache, max_model_len=max_model_len, has_drafts=has_drafts)


def tokens(num: int, first: int = 100) -> list[int]:
    """Token ids that no other test sequence with another `first` (a multiple of 100) has."""
    return list(range(first, first + num))


def make_seq(
    request_id: str, prompt: list[int], *, max_tokens: int = 16, priority: int = 0, arrival_time: float = 0.0,
    output: list[int] | None = None, cache_salt: str | None = None, num_encoder_tokens: int = 0,
    client: str | None = None,
    **params,
) -> Sequence:
    return Sequence(EngineRequest(
        request_id=request_id, prompt_token_ids=prompt, params=SamplingParams(max_tokens=max_tokens, **params),
        eos_token_ids=[EOS], arrival_time=arrival_time, priority=priority, output_token_ids=output or [],
        cache_salt=cache_salt, client=client, encoder_token_ids=list(range(num_encoder_tokens))))


def pool(scheduler: Scheduler, request_id: str, prompt: list[int]) -> Sequence:
    """Adds a sequence that is pooled instead of continued."""
    seq = Sequence(EngineRequest(request_id=request_id, prompt_token_ids=prompt, params=PoolingParams(task="embed"),
                                 eos_token_ids=[], arrival_time=0.0))
    scheduler.add(seq)
    return seq


def add(scheduler: Scheduler, request_id: str, prompt: list[int], **options) -> Sequence:
    seq = make_seq(request_id, prompt, **options)
    scheduler.add(seq)
    return seq


def apply(scheduler: Scheduler, plan: StepPlan, token_id: int = 7) -> list[Sequence]:
    """Gives every sequence that is due one the same token, and checks the scheduler's books."""
    finished = scheduler.apply(plan, [[token_id] if item.num_rows else [] for item in plan.scheduled])
    scheduler.check()
    return finished


def step(scheduler: Scheduler, token_id: int = 7) -> StepPlan:
    """One whole step; returns its plan."""
    plan = scheduler.schedule()
    scheduler.check()
    apply(scheduler, plan, token_id)
    return plan


def parts(plan: StepPlan) -> dict[str, int]:
    """Tokens that each sequence gets in a step."""
    return {item.seq.request_id: item.num_new_tokens for item in plan.scheduled}


def fake_token(token_ids: list[int]) -> int:
    """What the fake model answers to these tokens: 0 to 49, anything but the end of text."""
    return sha256(repr(token_ids).encode()).digest()[0] % 50
