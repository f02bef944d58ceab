"""What generating and pooling return to a Python user. Names and fields are vLLM's (`RequestOutput`, `PoolingOutput`).

Plain data: knows no tokenizer and no engine, and makes no tensor. `frontend/` fills it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Logprob:
    """Log-probability of one token at one position.

    rank counts from 1 (the likeliest token of the vocabulary); decoded_token is its text, None without a detokenizer.
    """

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


@dataclass(slots=True, kw_only=True)
class RequestMetrics:
    """Moments in a request's life, seconds of `time.monotonic`; None until they happen."""

    arrival_time: float
    first_scheduled_time: float | None = None
    first_token_time: float | None = None
    last_token_time: float | None = None
    finished_time: float | None = None
    num_preemptions: int = 0


@dataclass(slots=True, kw_only=True)
class CompletionOutput:
    """One of a request's `n` answers.

    logprobs: for each generated token {token_id: Logprob}, the sampled token first; None unless asked for.
    finish_reason: None while running, else "stop", "length", "abort" or "error".
    stop_reason: the stop string or stop token id that ended it; None for the end-of-text token; a sentence ("no token
        is allowed: …") where the request's own rules left none.
    """

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    cumulative_logprob: float | None = None
    logprobs: list[dict[int, Logprob]] | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    lora_request: None = None

    def finished(self) -> bool:
        """True once no more tokens will come."""
        return self.finish_reason is not None


@dataclass(slots=True, kw_only=True)
class RequestOutput:
    """A request's state: all its answers so far.

    prompt_token_ids: empty where the prompt was given as embeddings; num_prompt_embeds: then their number.
    prompt_logprobs: one entry for each prompt token, the first None; None unless asked for.
    num_cached_tokens: prompt tokens whose keys and values came from the prefix cache.
    error: what went wrong when a finish_reason is "error".
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool
    prompt_logprobs: list[dict[int, Logprob] | None] | None = None
    metrics: RequestMetrics | None = None
    lora_request: None = None
    encoder_prompt: str | None = None
    encoder_prompt_token_ids: list[int] | None = None
    num_cached_tokens: int | None = None
    kv_transfer_params: None = None
    error: str | None = None
    num_prompt_embeds: int = 0

    @property
    def num_prompt_tokens(self) -> int:
        """Tokens of the prompt, whichever way it was given."""
        return len(self.prompt_token_ids) + self.num_prompt_embeds


@dataclass(slots=True, kw_only=True)
class BeamSearchSequence:
    """One beam: prompt and generated ids together, the text of both, and the sum of its log-probabilities."""

    tokens: list[int]
    text: str | None
    cum_logprob: float
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass(slots=True)
class BeamSearchOutput:
    """The best beams of one prompt, best first."""

    sequences: list[BeamSearchSequence]


@dataclass(slots=True, eq=False)
class PoolingOutput:
    """What a prompt was turned into. data: float32, [E] for the task "embed", [T, E] for "token_embed"."""

    data: Tensor


@dataclass(slots=True)
class EmbeddingOutput:
    """A prompt's vector as numbers."""

    embedding: list[float]

    @property
    def hidden_size(self) -> int:
        """How many numbers there are."""
        return len(self.embedding)


P = TypeVar("P", PoolingOutput, EmbeddingOutput)


@dataclass(slots=True, kw_only=True)
class PoolingRequestOutput(Generic[P]):
    """A pooling request's end. outputs: None when it failed; error: why it did."""

    request_id: str
    outputs: P | None
    prompt_token_ids: list[int]
    num_cached_tokens: int = 0
    finished: bool = True
    error: str | None = None


@dataclass(slots=True, kw_only=True)
class EmbeddingRequestOutput(PoolingRequestOutput[EmbeddingOutput]):
    """As PoolingRequestOutput; `outputs` is an EmbeddingOutput or None."""
