"""Requests to the engine and its outputs: fixed schemas that msgspec encodes as msgpack.

The schemas hold numbers only: the engine knows no text. One `EngineRequest` is one stream of tokens; `frontend/` turns
a user's request with n > 1 into n of them and joins their outputs.
"""

from __future__ import annotations

import msgspec

from weft.architectures.model_words import ModelWords
from weft.grammar.form import ConstraintSpec
from weft.pooling_params import PoolingParams
from weft.sampling_params import SamplingParams

NO_TOKEN = -1      # entry of prompt_token_ids for a position that is a row of prompt_embeds


class WireTensor(msgspec.Struct, array_like=True):
    """A tensor in a message: contiguous, in the machine's byte order. dtype: torch's name, for example "float32"."""

    dtype: str
    shape: list[int]
    data: bytes

    def row_bytes(self, start: int, end: int) -> bytes:
        """The bytes of rows `start` to `end` - 1; fewer if the tensor ends earlier."""
        size = len(self.data) // self.shape[0]
        return self.data[start * size : end * size]

    def without(self, num_rows: int) -> WireTensor:
        """The tensor without its first rows."""
        left = max(self.shape[0] - num_rows, 0)
        return WireTensor(self.dtype, [left, *self.shape[1:]], self.row_bytes(num_rows, self.shape[0]))


class MediaInput(msgspec.Struct, kw_only=True):
    """A media item of a prompt, or several that only together can be encoded: what the model's encoder takes.

    kind: "image". digest: of the content (32 bytes): equal digests mean equal rows.
    spans: [first, end) of prompt tokens, in order and apart, in whose places the encoder's rows go.
    tensors: the encoder's arguments by name.
    """

    kind: str
    digest: bytes
    spans: list[tuple[int, int]]
    tensors: dict[str, WireTensor]

    @property
    def first(self) -> int:
        """The first prompt token that a row replaces."""
        return self.spans[0][0]

    @property
    def end(self) -> int:
        """The token after the last one that a row replaces."""
        return self.spans[-1][1]

    @property
    def num_rows(self) -> int:
        return sum(end - first for first, end in self.spans)


class EngineRequest(msgspec.Struct, kw_only=True):
    """One sequence to compute: SamplingParams ask for a completion, PoolingParams for an embedding.

    params: validated. SamplingParams have `max_tokens` and `seed` set (never None), and the engine ignores their `stop`
        strings; PoolingParams have `task` and `skip_reading_prefix_cache` set.
    prompt_embeds: [number of prompt tokens, E] in the model's dtype: embedding rows instead of token ids; then each
        entry of `prompt_token_ids` is NO_TOKEN.
    eos_token_ids: ids that end the sequence with stop_reason None, unless `params.ignore_eos`.
    bad_words_token_ids: token sequences that must not appear.
    output_token_ids: tokens generated earlier, for a resumed request; they count as output.
    encoder_token_ids: the encoder's input, for a model with encoder and decoder; then `prompt_token_ids` are the
        decoder's. Empty for other models.
    encoder_rows: [number of encoder tokens, W] of a model that hears, rows of audio in the place of the encoder's ids;
        then each entry of `encoder_token_ids` is NO_TOKEN.
    forced_token_ids: the first generated tokens, whatever the model's logits are. last_token_id: the one at the last
        place that `max_tokens` and the context leave; None: the model chooses it, too.
    not_first_token_ids: ids that must not be the first generated token.
    dry_breaker_ids: tokens at which DRY's passages end. mirostat_mu: of a resumed request, what mirostat has learned.
    token_type_ids: for pooling, the type of each prompt token; []: all are of type 0.
    media: of a prompt with media, in the order of their places.
    client: who asks, for fairness among clients; None: nobody in particular.
    cache_salt: part of the first block's content key in the prefix cache.
    constraint: the grammar that the answer follows, from the first token after `forced_token_ids` on. The engine must
        have been given a Vocabulary.
    """

    request_id: str
    prompt_token_ids: list[int]
    params: SamplingParams | PoolingParams
    eos_token_ids: list[int]
    arrival_time: float
    priority: int = 0
    client: str | None = None
    bad_words_token_ids: list[list[int]] = []
    output_token_ids: list[int] = []
    encoder_token_ids: list[int] = []
    encoder_rows: WireTensor | None = None
    forced_token_ids: list[int] = []
    last_token_id: int | None = None
    not_first_token_ids: list[int] = []
    dry_breaker_ids: list[int] = []
    mirostat_mu: float | None = None
    token_type_ids: list[int] = []
    cache_salt: str | None = None
    prompt_embeds: WireTensor | None = None
    media: list[MediaInput] = []
    constraint: ConstraintSpec | None = None

    @property
    def sampling(self) -> SamplingParams:
        """`params` of a request for a completion."""
        assert isinstance(self.params, SamplingParams), f"{self.request_id} is pooled"
        return self.params

    @property
    def pooling(self) -> PoolingParams:
        """`params` of a request for pooling (an embedding)."""
        assert isinstance(self.params, PoolingParams), f"{self.request_id} is continued"
        return self.params


class TokenLogprobs(msgspec.Struct, array_like=True):
    """Log-probabilities at one position: first the sampled (or prompt) token, then the likeliest tokens, best first.

    The three lists have equal lengths; a token appears once. ranks count from 1.
    """

    token_ids: list[int]
    logprobs: list[float]
    ranks: list[int]


class EngineOutput(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The output of one step for one sequence.

    new_token_ids: usually one; empty if only the finish reason or prompt_logprobs are new, and for PoolingParams.
    pooled: the result for PoolingParams, float32, as `PoolingOutput.data`.
    logprobs: one entry for each new token; None unless requested.
    prompt_logprobs: entries for the next prompt positions (from position 1 on), as the prompt's chunks are computed;
        None unless requested.
    extra_outputs: {name: rows of the next positions} as they are computed, from the prompt's first token on.
    finish_reason: None while running, else "stop", "length", "repetition", "abort" or "error" (then `error` says why).
    stop_reason: the stop token id; None for an end-of-text token; a sentence if the request forbids every token.
    num_cached_tokens: prompt tokens found in the prefix cache; sent with each output.
    first_scheduled_time: seconds of the engine's `time.monotonic` (one clock for all processes of a machine).
    mirostat_mu: what mirostat has learned by now; None for a request without mirostat.
    """

    request_id: str
    new_token_ids: list[int] = []
    logprobs: list[TokenLogprobs] | None = None
    prompt_logprobs: list[TokenLogprobs] | None = None
    pooled: WireTensor | None = None
    extra_outputs: dict[str, WireTensor] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    num_cached_tokens: int = 0
    first_scheduled_time: float | None = None
    num_preemptions: int = 0
    mirostat_mu: float | None = None
    error: str | None = None


class EngineStats(msgspec.Struct, kw_only=True):
    """Statistics after a step. Gauges describe this moment; counters count from the engine's start."""

    num_running: int = 0
    num_waiting: int = 0
    num_deferred: int = 0                # of these: waiting for a grammar, or for blocks that another one computes
    kv_cache_usage: float = 0.0          # blocks in use / blocks, 0 to 1, of the fullest cache group
    prefix_cache_bytes: int = 0          # blocks that a later sequence may find
    grammar_cache_bytes: int = 0
    num_steps: int = 0
    prompt_tokens: int = 0               # prompt tokens computed or found cached
    generation_tokens: int = 0
    prefix_cache_queries: int = 0        # tokens looked up
    prefix_cache_hits: int = 0           # tokens found
    num_preemptions: int = 0
    media_queries: int = 0               # media items that sequences came to
    media_hits: int = 0                  # items whose rows the encoder had made before
    media_rows: int = 0                  # rows of items that are kept
    num_drafts: int = 0                  # times that a sequence's drafts were verified
    num_draft_tokens: int = 0
    num_accepted_tokens_per_pos: list[int] = []      # accepted drafts, by index among a sequence's drafts
    step_tokens: int = 0                 # tokens of this step
    num_deaths: int = 0                  # times that the engine's process ended unexpectedly; its client counts them


class StepResult(msgspec.Struct, kw_only=True):
    """All outputs of one engine step, and the statistics after it."""

    outputs: list[EngineOutput]
    stats: EngineStats


class PoolingInfo(msgspec.Struct, kw_only=True):
    """What requests of a pooling model may ask for.

    embedding_size: numbers of an embedding. num_labels: of a classifier; 0: it is none. num_token_types: rows of the
    table of token types (BERT's segments); 0: there is none.
    score_type: how the model compares two texts: "bi-encoder", "cross-encoder" or "late-interaction"; "": it does not.
    joins_pairs: a pair of texts is one text, without tokens between them.
    is_matryoshka: an embedding may be cut; dimensions: to these sizes only; []: to any.
    num_columns: numbers in the row of one token. pools_steps: rows of tokens are those that end a step.
    normalizes: an embedding has length 1 unless a request says otherwise.
    reads_prefix_cache: tasks with one result need only a prompt's last state, so the beginning may come from the cache.
    """

    embedding_size: int = 0
    num_labels: int = 0
    num_token_types: int = 0
    score_type: str = ""
    joins_pairs: bool = False
    is_matryoshka: bool = False
    dimensions: list[int] = []
    num_columns: int = 0
    pools_steps: bool = False
    normalizes: bool = True
    reads_prefix_cache: bool = False


class EngineInfo(msgspec.Struct, kw_only=True):
    """Properties of a started engine: sizes in tokens, blocks and bytes, and the kernel of each operator.

    num_blocks: blocks of each cache group. block_size: tokens in a block.
    memory_bytes: all that the engine may use, by its memory plan.
    tasks: the model's tasks: "generate", or tasks of PoolingParams.
    prompt_embeds_size: E, the length of a `prompt_embeds` row; None if the model takes token ids only.
    extra_outputs: names that `SamplingParams.extra_outputs` may hold.
    media_kinds: media that a prompt may have: "image". [] where the model takes text alone.
    media_token_ids: {kind: the token that stands for a row of an item}; a kind without one is read by the model's own
        processor.
    encoder_vocab_size: ids that a model's encoder takes; None if the model has no encoder beside a decoder.
    max_encoder_len: most tokens of an encoder's input, as the model's config says; None: it says nothing.
    encoder_row_size: W, numbers of a row of audio, if the encoder hears: its input is max_encoder_len rows, not ids.
    pooling: of a pooling model; its default for one that generates.
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
    grammar_cache_limit_bytes: int = 0
    memory_bytes: int = 0
    prompt_embeds_size: int | None = None
    extra_outputs: list[str] = []
    media_kinds: list[str] = []
    media_token_ids: dict[str, int] = {}
    encoder_vocab_size: int | None = None
    max_encoder_len: int | None = None
    encoder_row_size: int | None = None
    words: ModelWords | None = None
    pooling: PoolingInfo = msgspec.field(default_factory=PoolingInfo)


class MemoryNeed(msgspec.Struct):
    """The bytes that a model needs: as it is planned, and with the smallest cache that holds one whole sequence."""

    wanted_bytes: int
    least_bytes: int
