"""What crosses between the engine and whoever drives it: fixed schemas that msgspec turns into msgpack.

Numbers only: the engine knows no text. One `EngineRequest` is one stream of tokens; a user's request with n > 1
is n of them (`frontend/` makes them and joins their outputs).
"""

from __future__ import annotations

import msgspec

from weft.pooling_params import PoolingParams
from weft.sampling_params import SamplingParams

NO_TOKEN = -1      # in prompt_token_ids: the prompt's position is a row of prompt_embeds


class WireTensor(msgspec.Struct, array_like=True):
    """A tensor as it crosses: contiguous rows, the machine's byte order. dtype: torch's name, as "float32"."""

    dtype: str
    shape: list[int]
    data: bytes

    def row_bytes(self, start: int, end: int) -> bytes:
        """The bytes of rows `start` to `end` - 1; fewer where the tensor ends before."""
        size = len(self.data) // self.shape[0]
        return self.data[start * size : end * size]


class EngineRequest(msgspec.Struct, kw_only=True):
    """One sequence to compute: with SamplingParams to continue, with PoolingParams to describe by numbers.

    params: validated. Of SamplingParams `max_tokens` and `seed` are set (never None), and `stop` strings are not looked
        at here; of PoolingParams `task` and `use_activation` are set.
    prompt_embeds: [number of prompt tokens, E] in the model's dtype: the prompt as rows of the embedding instead of
        token ids; `prompt_token_ids` is then NO_TOKEN for each row.
    eos_token_ids: end the sequence with stop_reason None unless `params.ignore_eos`.
    bad_words_token_ids: token sequences that must not appear.
    output_token_ids: tokens generated before (a request that is resumed); they count as output.
    cache_salt: part of the prefix-cache key of the first block.
    """

    request_id: str
    prompt_token_ids: list[int]
    params: SamplingParams | PoolingParams
    eos_token_ids: list[int]
    arrival_time: float
    priority: int = 0
    bad_words_token_ids: list[list[int]] = []
    output_token_ids: list[int] = []
    cache_salt: str | None = None
    prompt_embeds: WireTensor | None = None

    @property
    def sampling(self) -> SamplingParams:
        """The parameters of a sequence to continue."""
        assert isinstance(self.params, SamplingParams), f"{self.request_id} is pooled"
        return self.params

    @property
    def pooling(self) -> PoolingParams:
        """The parameters of a sequence to pool."""
        assert isinstance(self.params, PoolingParams), f"{self.request_id} is continued"
        return self.params


class TokenLogprobs(msgspec.Struct, array_like=True):
    """Log-probabilities at one position: the sampled (or prompt) token first, then the likeliest, best first.

    The three lists are of equal length; a token appears once. ranks count from 1.
    """

    token_ids: list[int]
    logprobs: list[float]
    ranks: list[int]


class EngineOutput(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What one step gave one sequence.

    new_token_ids: usually one; empty when only a state changed (abort, error), and for PoolingParams.
    pooled: float32, what PoolingParams asked for: [E] for "embed", [T, E] for "token_embed".
    logprobs: one for each new token, None unless asked for.
    prompt_logprobs: pieces in order as the prompt's chunks are computed, for prompt positions 1, 2, …; None unless
        asked for.
    finish_reason: None while running, else "stop", "length", "abort" or "error" (then `error` says why).
    stop_reason: the stop token id, None for an end-of-text token; a sentence where the request forbids every token.
    num_cached_tokens: prompt tokens found in the prefix cache; sent with each output.
    first_scheduled_time: engine's `time.monotonic` (one clock for all processes of a machine).
    """

    request_id: str
    new_token_ids: list[int] = []
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs] | None = None
    pooled: WireTensor | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    num_cached_tokens: int = 0
    first_scheduled_time: float | None = None
    num_preemptions: int = 0
    error: str | None = None


class EngineStats(msgspec.Struct, kw_only=True):
    """The engine after a step. Gauges are of this moment, counters since the engine's start."""

    num_running: int = 0
    num_waiting: int = 0
    kv_cache_usage: float = 0.0          # blocks in use / blocks, 0 to 1, of the fullest cache group
    num_steps: int = 0
    prompt_tokens: int = 0               # prompt tokens computed or found cached
    generation_tokens: int = 0
    prefix_cache_queries: int = 0        # tokens looked up
    prefix_cache_hits: int = 0           # tokens found
    num_preemptions: int = 0
    num_drafts: int = 0                  # times that a sequence's drafts were verified
    num_draft_tokens: int = 0
    num_accepted_tokens_per_pos: list[int] = []      # drafts that became tokens, by their place among the drafts
    step_tokens: int = 0                 # tokens of this step


class StepResult(msgspec.Struct, kw_only=True):
    """All that one engine step says."""

    outputs: list[EngineOutput]
    stats: EngineStats


class EngineInfo(msgspec.Struct, kw_only=True):
    """What an engine found out while it started: sizes in tokens, blocks and bytes, and the kernel of each operator.

    tasks: what the model is for: "generate", or of PoolingParams' tasks those that it has.
    prompt_embeds_size: numbers in a row of `prompt_embeds`; None: the model takes token ids only.
    """

    max_model_len: int
    num_blocks: list[int]
    block_size: int
    weight_bytes: int
    activation_bytes: int
    kv_cache_bytes: int
    load_seconds: float
    kernels: dict[str, str]
    tasks: list[str]
    prompt_embeds_size: int | None = None
