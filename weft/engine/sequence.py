"""`Sequence`: one stream of tokens from its request to its end, and how far it has got.

Plain data that the scheduler and the cache manager change and the runner reads. Knows no tensor, no text and no
scheduling rule.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from hashlib import sha256

from weft.engine.process.messages import EngineRequest
from weft.pooling_params import PoolingParams


class State(enum.Enum):
    """Where a sequence is."""

    NEW = "new"              # no scheduler has it
    WAITING = "waiting"      # in the queue, without blocks
    HELD = "held"            # waits, outside of the queue, for blocks that another is computing
    RUNNING = "running"      # has blocks, and a part of every step that has room
    FINISHED = "finished"    # has a finish_reason and no blocks


@dataclass(slots=True, eq=False, weakref_slot=True)
class Sequence:
    """One sequence, waiting, running or finished. Made from its request alone: `Sequence(request)`.

    Attributes:
        token_ids: prompt and output, all that is known.
        num_computed_tokens: the first tokens of `token_ids` whose keys and values are in the cache.
        num_cached_tokens: prompt tokens found in the prefix cache when it first ran; None before.
        block_ids: for each cache group its table of blocks (`cache/groups`); -1 where there is none.
        room: tokens, counted from the first one, for which all its tables have blocks.
        num_encoder_tokens: of the encoder's input; 0 without one.
        block_keys: content keys of its first full blocks, as many as were needed so far (`cache/prefix.py`).
        is_pooling: it ends when its prompt is computed; no token is sampled.
        draft_token_ids: tokens proposed to follow `token_ids`, for the next step to verify.
        max_len: tokens it may have, prompt included; set when the scheduler takes it.
        order: rank among all sequences, lower goes first; set when the scheduler takes it.
        state: where it is; the scheduler moves it.
        first_scheduled_time: seconds of `time.monotonic`.
        num_prompt_logprobs: prompt positions whose log-probabilities have left the engine; the engine counts them, so
            that a preempted sequence does not send them twice.
        finish_reason: None while alive, else "stop", "length", "abort" or "error".
        stop_reason: the stop token id that ended it; None for the end-of-text token; a sentence where its own rules
            forbid every token.
    """

    request: EngineRequest
    token_ids: list[int] = field(init=False)
    num_prompt_tokens: int = field(init=False)
    num_computed_tokens: int = field(default=0, init=False)
    num_cached_tokens: int | None = field(default=None, init=False)
    block_ids: list[list[int]] = field(default_factory=list, init=False)
    room: int = field(default=0, init=False)
    block_keys: list[bytes] = field(default_factory=list, init=False)
    num_encoder_tokens: int = field(default=0, init=False)
    is_pooling: bool = field(init=False)
    draft_token_ids: list[int] = field(default_factory=list, init=False)
    max_len: int = field(init=False)
    min_len: int = field(init=False)                        # tokens before eos or a stop id may end it
    end_token_ids: frozenset[int] = field(init=False)       # eos and stop ids together
    order: tuple[float, ...] = field(default=(), init=False)
    state: State = field(default=State.NEW, init=False)
    num_preemptions: int = field(default=0, init=False)
    num_prompt_logprobs: int = field(default=0, init=False)
    first_scheduled_time: float | None = field(default=None, init=False)
    finish_reason: str | None = field(default=None, init=False)
    stop_reason: int | str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        request = self.request
        self.token_ids = [*request.prompt_token_ids, *request.output_token_ids]
        self.num_prompt_tokens = len(request.prompt_token_ids)
        self.is_pooling = isinstance(request.params, PoolingParams)
        if self.is_pooling:
            self.max_len = self.min_len = self.num_prompt_tokens
            self.end_token_ids = frozenset()
            return
        params = request.sampling
        assert params.max_tokens is not None, "max_tokens of an engine's request is a number"
        self.max_len = self.num_prompt_tokens + params.max_tokens
        self.min_len = self.num_prompt_tokens + params.min_tokens
        self.end_token_ids = self._eos_token_ids() | frozenset(params.stop_token_ids or ())

    @property
    def request_id(self) -> str:
        return self.request.request_id

    @property
    def num_tokens(self) -> int:
        """Known tokens: prompt and output."""
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def output_token_ids(self) -> list[int]:
        """A copy of the generated tokens, those of a resumed request included."""
        return self.token_ids[self.num_prompt_tokens :]

    @property
    def num_uncomputed_tokens(self) -> int:
        """Known tokens that the model has still to see; 1 in decode."""
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def is_finished(self) -> bool:
        return self.finish_reason is not None

    @property
    def reads_prefix_cache(self) -> bool:
        """False when its prompt must be computed: log-probabilities of the prompt need every position's logits, and
        pooling every position's state."""
        if self.is_pooling:
            return False
        params = self.request.sampling
        return params.prompt_logprobs is None and not params.skip_reading_prefix_cache

    @property
    def max_stored_len(self) -> int:
        """Tokens whose keys and values the cache ever holds; a last token that is sampled is never stored."""
        return self.max_len if self.is_pooling else self.max_len - 1

    def key_extras(self, start: int, end: int) -> bytes:
        """What the keys and values of tokens `start` to `end` - 1 depend on besides the ids up to there.

        The salt counts in the first block. A digest of the rows of prompt_embeds comes last and has a fixed length, so
        that no salt can be taken for rows.
        """
        request, extras = self.request, b""
        if start == 0 and request.cache_salt is not None:
            extras = b"salt:" + request.cache_salt.encode("utf-8", "surrogatepass")
        if request.prompt_embeds is not None and start < self.num_prompt_tokens:
            extras += b"embeds:" + sha256(request.prompt_embeds.row_bytes(start, end)).digest()
        return extras

    def append(self, token_id: int) -> bool:
        """Takes a new token; True if it ends the sequence, which then has its `finish_reason`."""
        token_ids = self.token_ids
        token_ids.append(token_id)
        if token_id in self.end_token_ids and len(token_ids) >= self.min_len:
            self.finish_reason = "stop"
            self.stop_reason = None if token_id in self._eos_token_ids() else token_id
            return True
        if len(token_ids) >= self.max_len:
            self.finish_reason = "length"
            return True
        return False

    def _eos_token_ids(self) -> frozenset[int]:
        return frozenset() if self.request.sampling.ignore_eos else frozenset(self.request.eos_token_ids)
