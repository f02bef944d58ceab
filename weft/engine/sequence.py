"""`Sequence`: one stream of tokens from its request to its end, with its progress.

A sequence is plain data: the scheduler and the cache manager change it, the runner reads it. It knows no tensor, no
text and no scheduling rule.
"""

from __future__ import annotations

import enum
from array import array
from dataclasses import dataclass, field
from hashlib import sha256

from weft.engine.process.messages import EngineRequest
from weft.pooling_params import PoolingParams


class State(enum.Enum):
    """The scheduling state of a sequence."""

    NEW = "new"              # no scheduler has it
    WAITING = "waiting"      # in the queue, without blocks
    COMPILING = "compiling"  # outside the queue, waiting for its grammar
    HELD = "held"            # outside the queue, waiting for blocks that another sequence is computing
    RUNNING = "running"      # has blocks; gets a part of every step that has room
    FINISHED = "finished"    # has a finish_reason and no blocks


def uses_mirostat(seq: Sequence) -> bool:
    """Whether a sequence's sampler learns from each token, so that no token can be drafted ahead."""
    return not seq.is_pooling and bool(seq.request.sampling.mirostat)


@dataclass(slots=True, eq=False, weakref_slot=True)
class Sequence:
    """One sequence: waiting, running or finished. Built from its request alone: `Sequence(request)`.

    Attributes:
        token_ids: all known tokens, prompt and output.
        num_computed_tokens: how many of the first `token_ids` have their keys and values in the cache.
        num_cached_tokens: prompt tokens found in the prefix cache at the first start; None before.
        block_ids: one block table for each cache group (`cache/groups`); entry -1: no block.
        room: the first `room` tokens have blocks in all tables.
        num_encoder_tokens: tokens of the encoder's input; 0 if the model has no encoder.
        is_encoded: what is made of the encoder's input is in the cache, or there is no such input.
        block_keys: content keys of the first full blocks, as many as were needed so far (`cache/prefix.py`).
        is_pooling: the sequence ends when its prompt is computed; no token is sampled.
        draft_token_ids: speculated tokens after `token_ids`, for the next step to verify.
        max_len: the most tokens that the sequence may have, prompt included; the scheduler lowers it to the context.
        order: rank among all sequences, lower first; the scheduler sets it in `add`.
        state: scheduling state; the scheduler changes it.
        first_scheduled_time: seconds of `time.monotonic`.
        num_extra_rows: positions whose extra outputs have left the engine; a preempted sequence skips them as well.
        num_prompt_logprobs: prompt positions whose log-probabilities have left the engine. A preempted sequence skips
            these positions when it runs again.
        mirostat_mu: the bound of surprise, in bits, that mirostat has learned.
        finish_reason: None while alive, else "stop", "length", "repetition", "abort" or "error".
        stop_reason: the stop token id that ended the sequence; None for the end-of-text token; a sentence if the
            request's parameters forbid every token.
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
    encoder_digest: bytes = field(default=b"", init=False)
    is_encoded: bool = field(init=False)
    is_pooling: bool = field(init=False)
    draft_token_ids: list[int] = field(default_factory=list, init=False)
    max_len: int = field(init=False)
    min_len: int = field(init=False)                        # tokens before eos or a stop id may end the sequence
    end_token_ids: frozenset[int] = field(init=False)       # eos and stop ids together
    order: tuple[float, ...] = field(default=(), init=False)
    state: State = field(default=State.NEW, init=False)
    num_preemptions: int = field(default=0, init=False)
    num_prompt_logprobs: int = field(default=0, init=False)
    num_extra_rows: int = field(default=0, init=False)
    mirostat_mu: float = field(default=0.0, init=False)
    first_scheduled_time: float | None = field(default=None, init=False)
    finish_reason: str | None = field(default=None, init=False)
    stop_reason: int | str | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        request = self.request
        self.token_ids = [*request.prompt_token_ids, *request.output_token_ids]
        self.num_prompt_tokens = len(request.prompt_token_ids)
        self.num_encoder_tokens = len(request.encoder_token_ids)
        self.is_encoded = not request.encoder_token_ids
        if request.encoder_token_ids:
            rows = b"" if request.encoder_rows is None else request.encoder_rows.data
            self.encoder_digest = sha256(array("q", request.encoder_token_ids).tobytes() + rows).digest()
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
        self.mirostat_mu = 2 * params.mirostat_tau if request.mirostat_mu is None else request.mirostat_mu

    @property
    def request_id(self) -> str:
        return self.request.request_id

    @property
    def num_tokens(self) -> int:
        """The number of known tokens, prompt and output."""
        return len(self.token_ids)

    @property
    def num_output_tokens(self) -> int:
        return len(self.token_ids) - self.num_prompt_tokens

    @property
    def output_token_ids(self) -> list[int]:
        """A copy of the generated tokens, including `output_token_ids` of the request."""
        return self.token_ids[self.num_prompt_tokens :]

    @property
    def num_uncomputed_tokens(self) -> int:
        """The number of known tokens that the model has not computed yet; 1 in decode."""
        return len(self.token_ids) - self.num_computed_tokens

    @property
    def is_finished(self) -> bool:
        return self.finish_reason is not None

    @property
    def reads_prefix_cache(self) -> bool:
        """False if the whole prompt must be computed: prompt_logprobs need every position's logits, some poolings and
        extra_outputs every position's hidden state."""
        if self.is_pooling:
            return self.request.pooling.skip_reading_prefix_cache is False
        params = self.request.sampling
        return params.prompt_logprobs is None and not params.skip_reading_prefix_cache

    @property
    def next_len(self) -> int:
        """Tokens that the cache must hold for the known tokens and one more; at most `max_stored_len`."""
        return min(self.num_tokens + 1, self.max_stored_len)

    @property
    def max_stored_len(self) -> int:
        """The most tokens whose keys and values the cache ever holds: the last sampled token is never computed."""
        return self.max_len if self.is_pooling else self.max_len - 1

    def encoder_keys(self, block_size: int) -> list[bytes]:
        """Content keys of the blocks with keys and values of the encoder's tokens. Each token sees the whole input."""
        whole = sha256(self.encoder_digest + self._salt).digest()
        return [whole + number.to_bytes(4, "big") for number in range(-(-self.num_encoder_tokens // block_size))]

    @property
    def _salt(self) -> bytes:
        salt = self.request.cache_salt
        return b"" if salt is None else b"salt:" + salt.encode("utf-8", "surrogatepass")

    def key_extras(self, start: int, end: int) -> bytes:
        """Bytes that stand for all inputs of tokens `start` to `end` - 1 other than token ids, for the content keys.

        An item of media is in the key of each block that it reaches into: digest and first token.
        The cache salt and the encoder's input go into the first block. A digest (of the encoder's input or of the
        prompt_embeds rows) comes last and has a fixed length, so that no salt can be mistaken for one.
        """
        request, extras = self.request, b""
        if start == 0:
            extras = self._salt
        if start == 0 and request.encoder_token_ids:
            extras += b"encoder:" + self.encoder_digest
        if any(request.token_type_ids[start:end]):
            extras += b"types:" + sha256(array("q", request.token_type_ids[start:end]).tobytes()).digest()
        for item in request.media:
            if item.first < end and start < item.end:
                extras += b"media:" + item.digest + item.first.to_bytes(8, "little")
        if request.prompt_embeds is not None and start < self.num_prompt_tokens:
            extras += b"embeds:" + sha256(request.prompt_embeds.row_bytes(start, end)).digest()
        return extras

    def append(self, token_id: int) -> bool:
        """Appends a new token. Returns True if the token ends the sequence, with `finish_reason` set."""
        token_ids = self.token_ids
        token_ids.append(token_id)
        if token_id in self.end_token_ids and len(token_ids) >= self.min_len:
            self.finish_reason = "stop"
            self.stop_reason = None if token_id in self._eos_token_ids() else token_id
            return True
        if len(token_ids) >= self.max_len:
            self.finish_reason = "length"
            return True
        repetition = self.request.sampling.repetition_detection
        if repetition is not None and len(token_ids) >= self.min_len and repetition.found_in(
                token_ids, self.num_prompt_tokens):
            self.finish_reason, self.stop_reason = "repetition", "repetition_detected"
            return True
        return False

    def _eos_token_ids(self) -> frozenset[int]:
        return frozenset() if self.request.sampling.ignore_eos else frozenset(self.request.eos_token_ids)
