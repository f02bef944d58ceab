"""The results of generating and pooling for a Python user. Names and fields are vLLM's.

`RequestOutput` holds completions, `PoolingRequestOutput` what was pooled. The classes are plain data that `frontend/`
makes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Logprob:
    """Log-probability of one token at one position.

    rank: counts from 1, the likeliest token of the vocabulary. decoded_token: the token's text; None without a
    detokenizer.
    """

    logprob: float
    rank: int | None = None
    decoded_token: str | None = None


SampleLogprobs = list[dict[int, Logprob]]                # one dictionary for each generated token
PromptLogprobs = list[dict[int, Logprob] | None]         # for each prompt token; None for the first


@dataclass(slots=True, kw_only=True)
class RequestMetrics:
    """Times of a request's events, in seconds of `time.monotonic`; None before the event."""

    arrival_time: float
    first_scheduled_time: float | None = None
    first_token_time: float | None = None
    last_token_time: float | None = None
    finished_time: float | None = None
    num_preemptions: int = 0


@dataclass(slots=True, kw_only=True)
class CompletionOutput:
    """One of a request's `n` answers (completions).

    logprobs: {token_id: Logprob} for each generated token, the sampled token first; None unless requested.
    finish_reason: None while running, else "stop", "length", "repetition", "abort" or "error".
    stop_reason: the stop string or stop token id that ended the answer; None for the end-of-text token; a sentence ("no
        token is allowed: …") if the request's parameters forbid every token.
    extra_outputs: {name: rows} for SamplingParams.extra_outputs: row i belongs to token i of the answer. The last token
        has no row, because the model was never given it.
    """

    index: int
    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    cumulative_logprob: float | None = None
    logprobs: SampleLogprobs | None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None
    lora_request: None = None
    extra_outputs: dict[str, Tensor] | None = None

    def finished(self) -> bool:
        """True once the answer has its finish reason."""
        return self.finish_reason is not None


@dataclass(slots=True, kw_only=True)
class RequestOutput:
    """The output of a request with all its answers, as far as its output kind says.

    prompt_token_ids: empty for a prompt given as embeddings. num_prompt_embeds: then the number of its rows.
    encoder_prompt, encoder_prompt_token_ids: the input of a model with an encoder; then `prompt` is the decoder's,
        which begins with its start token. None for other models.
    prompt_logprobs: one entry for each prompt token, the first None; None unless requested.
    num_cached_tokens: prompt tokens whose keys and values came from the prefix cache.
    error: what went wrong, if a finish_reason is "error".
    extra_outputs: {name: rows} for SamplingParams.extra_outputs: a row for each token of the prompt.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool
    prompt_logprobs: PromptLogprobs | None = None
    metrics: RequestMetrics | None = None
    lora_request: None = None
    encoder_prompt: str | None = None
    encoder_prompt_token_ids: list[int] | None = None
    num_cached_tokens: int | None = None
    kv_transfer_params: None = None
    error: str | None = None
    num_prompt_embeds: int = 0
    extra_outputs: dict[str, Tensor] | None = None

    @property
    def num_prompt_tokens(self) -> int:
        """The prompt's length in tokens, for token ids and for embeddings; the encoder's and the decoder's together."""
        return len(self.prompt_token_ids) + self.num_prompt_embeds + len(self.encoder_prompt_token_ids or ())


@dataclass(slots=True, kw_only=True)
class BeamSearchSequence:
    """One beam. tokens, text: prompt and generated part together. cum_logprob: sum of log-probabilities."""

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
    """The pooled prompt. data: float32, [E] for the task "embed", [T, E] for "token_embed", [num_classes] for
    "classify", [T, num_classes] for "token_classify"."""

    data: Tensor


@dataclass(slots=True)
class EmbeddingOutput:
    """A prompt's embedding as a list of E numbers."""

    embedding: list[float]

    @classmethod
    def from_base(cls, output: PoolingOutput) -> EmbeddingOutput:
        """Of the task "embed"."""
        return cls(output.data.tolist())

    @property
    def hidden_size(self) -> int:
        """E, the length of the embedding."""
        return len(self.embedding)


@dataclass(slots=True)
class ClassificationOutput:
    """A number for each label of a prompt: probabilities, unless the request asked for logits."""

    probs: list[float]

    @classmethod
    def from_base(cls, output: PoolingOutput) -> ClassificationOutput:
        """Of the task "classify"."""
        return cls(output.data.tolist())

    @property
    def num_classes(self) -> int:
        """The number of labels."""
        return len(self.probs)


@dataclass(slots=True)
class ScoringOutput:
    """How well two texts fit: a cosine, a classifier's one number, or the late interaction of their tokens."""

    score: float

    @classmethod
    def from_base(cls, output: PoolingOutput) -> ScoringOutput:
        """Of one number. ValueError for several."""
        return cls(output.data.squeeze().item())


P = TypeVar("P", PoolingOutput, EmbeddingOutput, ClassificationOutput, ScoringOutput)


@dataclass(slots=True, kw_only=True)
class PoolingRequestOutput(Generic[P]):
    """The result of a pooling request. outputs: None if it failed. error: why it failed."""

    request_id: str
    outputs: P | None
    prompt_token_ids: list[int]
    num_cached_tokens: int = 0
    finished: bool = True
    error: str | None = None


@dataclass(slots=True, kw_only=True)
class EmbeddingRequestOutput(PoolingRequestOutput[EmbeddingOutput]):
    """A PoolingRequestOutput whose `outputs` is an EmbeddingOutput or None."""


@dataclass(slots=True, kw_only=True)
class ClassificationRequestOutput(PoolingRequestOutput[ClassificationOutput]):
    """A PoolingRequestOutput whose `outputs` is a ClassificationOutput or None."""


@dataclass(slots=True, kw_only=True)
class ScoringRequestOutput(PoolingRequestOutput[ScoringOutput]):
    """A PoolingRequestOutput whose `outputs` is a ScoringOutput or None."""
