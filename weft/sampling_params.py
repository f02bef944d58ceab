"""`SamplingParams` and `BeamSearchParams`: how a request's tokens are chosen, when it ends and what it reports.

Names and defaults are vLLM's. The constructors check all values; `check_vocabulary` and `frontend/` check those that
depend on a model. The objects are plain data and are sent to the engine.
"""

from __future__ import annotations

import enum
import math
from typing import Any, ClassVar

import msgspec

from weft.compat.vllm.options.accept import tell
from weft.compat.vllm.options.params import Accept, VllmParams
from weft.compat.vllm.options.sampling import accept_beams, accept_sampling
from weft.errors import NotBuiltError, RequestError
from weft.field_checks import (
    MAX_COUNT,
    check_flag,
    check_number,
    check_strings,
    check_token_ids,
    check_whole,
)
from weft.reasoning_budget import ReasoningBudget
from weft.repetition_detection import RepetitionDetectionParams, read_repetition_detection
from weft.sampling_extras import SamplingExtras
from weft.structured_outputs import StructuredOutputsParams, read_structures

GREEDY_TEMPERATURE = 1e-5      # a temperature below it means greedy: the likeliest token
MIN_TEMPERATURE = 0.01         # other temperatures below it are raised to it: smaller ones overflow half precision
MAX_N = 16384
MAX_BAD_WORDS = 128
MAX_LOGPROB_IDS = 128
SEED_RANGE = (-(2**63), 2**63 - 1)
LENGTH_PENALTY_RANGE = (-100, 100)
PENALTY_RANGE = (1e-6, 1e6)    # repetition_penalty; values outside take logits out of float32's range
LOGIT_BIAS_LIMIT = 100.0
EARLY_STOPPING = (False, True, "never")

# The values of other fields with use_beam_search, which draws nothing and knows only the model's own probabilities.
_OFF_FOR_BEAMS = {
    "presence_penalty": 0.0, "frequency_penalty": 0.0, "repetition_penalty": 1.0, "top_p": 1.0, "top_k": 0,
    "min_p": 0.0, "stop": [], "stop_token_ids": [], "min_tokens": 0, "logprobs": None, "prompt_logprobs": None,
    "logprob_token_ids": None, "logit_bias": None, "allowed_token_ids": None, "bad_words": None, "extra_outputs": None,
    "logits_processors": None, "extra_args": None, "structured_outputs": None,
    "reasoning_budget": None, "repetition_detection": None,
    "dry_multiplier": 0.0, "top_n_sigma": 0.0, "typical_p": 1.0, "xtc_probability": 0.0, "dynatemp_range": 0.0,
    "mirostat": 0}


class RequestOutputKind(enum.Enum):
    """The content of each output of a running request."""

    CUMULATIVE = 0     # everything up to now
    DELTA = 1          # the tokens and text since the last output
    FINAL_ONLY = 2     # one output, when the request has finished


class SamplingParams(SamplingExtras, metaclass=VllmParams, kw_only=True, omit_defaults=True, tag="sampling"):
    """How one request is sampled. A wrong value is a `RequestError` (a ValueError) that names the field.

    Further samplers are the fields of SamplingExtras.

    The constructor also takes the other fields of vLLM 0.6 to 0.33, as `compat/vllm/options/sampling.py` says.

    Attributes:
        n: the number of answers (completions); answer i draws with seed + i. Greedy sampling needs 1.
        best_of: draw so many answers and return the n of the highest cumulative log-probability, best first. They are
            known at the end, so nothing is streamed. None: n.
        use_beam_search: search the likeliest answers with best_of (or n) beams and return the n best; nothing is drawn.
        length_penalty, early_stopping: of that search. A beam's score is its cumulative log-probability / length **
            length_penalty (length with the prompt). With as many ended beams as its width the search ends at once
            (True), when no live beam has a better score than the worst of them (False), or at max_tokens ("never").
        presence_penalty, frequency_penalty: -2 to 2, over generated tokens; 0 is off.
        repetition_penalty: above 0, over prompt and generated tokens; 1 is off.
        temperature: 0 to 2; below 1e-5 is greedy.
        top_p: in (0, 1]. top_k: 0 (or -1) is off. min_p: in [0, 1].
        seed: seed of this request's draws; None (or -1): derived from the engine's seed.
        stop: strings that end the text, which is cut at the earliest match. None becomes [].
        stop_token_ids: ids that end the sequence. None becomes [].
        max_tokens: the most tokens to generate; None: as many as the context holds.
        min_tokens: tokens before which no stop string, stop id or end-of-text token ends the answer.
        logprobs, prompt_logprobs: the number of likeliest tokens to report; -1: the whole vocabulary; None: none.
        output_kind: see RequestOutputKind. stream_interval: tokens between two streamed outputs.
        logit_bias: {token id: value}, clamped to ±100. allowed_token_ids: only these can be drawn.
        bad_words: texts that must not appear.
        logprob_token_ids: report the log-probabilities of these tokens (128 at most) instead of the likeliest ones.
        truncate_prompt_tokens: keep only this many tokens of the prompt; -1: as many as fit the context.
        truncation_side: the side that is cut off: "left", or "right" to keep the prompt's beginning.
        skip_reading_prefix_cache: compute the whole prompt; always True with prompt_logprobs and extra_outputs.
        extra_outputs: names of what the model computes besides tokens, for each token: "hidden_states.3" enters block
            3, "hidden_states.last" goes to the head, others are the model's own. For Python only, not over HTTP.
        logits_processors: functions (output token ids, logits [V]) -> logits, or (prompt token ids, output token ids,
            logits) -> logits; only where the engine runs in the calling process. An exception ends the request.
        extra_args: plain data that the engine's logits processors read.
        structured_outputs: the form of the answer (a JSON schema, a regular expression …); also as a dictionary.
        reasoning_budget: a `ReasoningBudget`, which ends the reasoning after so many tokens.
        repetition_detection: `RepetitionDetectionParams`, which end an answer that repeats itself; or a dictionary.
        forced_bos_token: the first token of the answer, as text or id, of a model with an encoder: the language to
            translate to ("deu_Latn" of NLLB). None: the token that the model's files name, if they name one.
    """

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool = False
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE
    stream_interval: int | None = None
    logit_bias: dict[int, float] | None = None
    allowed_token_ids: list[int] | None = None
    bad_words: list[str] | None = None
    logprob_token_ids: list[int] | None = None
    truncate_prompt_tokens: int | None = None
    truncation_side: str = "left"
    skip_reading_prefix_cache: bool | None = None
    extra_outputs: list[str] | None = None
    logits_processors: list[Any] | None = None
    extra_args: dict[str, Any] | None = None
    best_of: int | None = None
    use_beam_search: bool = False
    length_penalty: float = 1.0
    early_stopping: bool | str = False
    structured_outputs: StructuredOutputsParams | None = None
    reasoning_budget: ReasoningBudget | None = None
    repetition_detection: RepetitionDetectionParams | None = None
    forced_bos_token: str | int | None = None

    accept: ClassVar[Accept] = accept_sampling

    def __post_init__(self) -> None:
        self._check_flags()
        self.check_extras()
        self._check_sampling()
        self._check_lengths()
        self._check_stop()
        self._check_tokens()
        self._check_beams()

    @property
    def num_candidates(self) -> int:
        """The number of answers that are computed: more than n where the n best are returned."""
        return self.best_of or self.n

    @property
    def picks_best(self) -> bool:
        """True if the answers to return are known only when all have ended."""
        return self.best_of is not None or self.use_beam_search

    @property
    def is_greedy(self) -> bool:
        """True if every token is the likeliest one."""
        return self.temperature < GREEDY_TEMPERATURE

    def clone(self) -> SamplingParams:
        """A copy that shares no lists with this object; checked again, because fields may have been assigned since."""
        form, budget = self.structured_outputs, self.reasoning_budget
        own = {"structured_outputs": form and msgspec.structs.replace(form),      # which copies the form itself
               "reasoning_budget": budget and budget.clone()}
        return msgspec.structs.replace(self, **own, **{
            name: value.copy() for name in ("stop", "stop_token_ids", "logit_bias", "allowed_token_ids", "bad_words",
                                            "logprob_token_ids", "extra_outputs", "logits_processors", "extra_args",
                                                  "dry_sequence_breakers")
            if isinstance(value := getattr(self, name), list | dict)})

    def check_vocabulary(self, vocab_size: int) -> None:
        """RequestError unless every token id in these parameters is in [0, vocab_size)."""
        for name in ("stop_token_ids", "allowed_token_ids", "logprob_token_ids", "logit_bias"):
            for i, token_id in enumerate(getattr(self, name) or ()):
                if not 0 <= token_id < vocab_size:
                    raise RequestError(f"{name}[{i}]" if name != "logit_bias" else name, token_id,
                                       expected=f"token ids from 0 to {vocab_size - 1} (the vocabulary)")
        if self.reasoning_budget is not None:
            self.reasoning_budget.check_vocabulary(vocab_size)

    def _check_flags(self) -> None:
        for name in ("include_stop_str_in_output", "ignore_eos", "detokenize", "skip_special_tokens",
                     "spaces_between_special_tokens", "use_beam_search"):
            check_flag(name, getattr(self, name))
        if not isinstance(self.output_kind, RequestOutputKind):
            raise RequestError("output_kind", self.output_kind, expected="a RequestOutputKind")
        if self.structured_outputs is not None:
            self.structured_outputs = read_structures(self.structured_outputs)
        if self.reasoning_budget is not None and not isinstance(self.reasoning_budget, ReasoningBudget):
            raise RequestError("reasoning_budget", self.reasoning_budget, expected="a ReasoningBudget")
        if self.repetition_detection is not None:
            self.repetition_detection = read_repetition_detection(self.repetition_detection)
        if self.skip_reading_prefix_cache is not None:
            check_flag("skip_reading_prefix_cache", self.skip_reading_prefix_cache)

    def _check_sampling(self) -> None:
        for name in ("presence_penalty", "frequency_penalty"):
            setattr(self, name, check_number(name, getattr(self, name), -2, 2))
        self.repetition_penalty = check_number("repetition_penalty", self.repetition_penalty, *PENALTY_RANGE)
        self.temperature = check_number("temperature", self.temperature, 0, 2)
        self.min_p = check_number("min_p", self.min_p, 0, 1)
        self.top_p = check_number("top_p", self.top_p, 0, 1)
        if self.top_p == 0:
            raise RequestError("top_p", self.top_p, expected="a number above 0, up to 1")
        check_whole("top_k", self.top_k, -1, MAX_COUNT)
        self.top_k = max(self.top_k, 0)
        check_whole("n", self.n, 1, MAX_N)
        if self.best_of is not None:
            check_whole("best_of", self.best_of, self.n, MAX_N)
            self.best_of = None if self.best_of == self.n else self.best_of
        if self.seed is not None:
            check_whole("seed", self.seed, *SEED_RANGE)
            self.seed = None if self.seed == -1 else self.seed
        if self.is_greedy:
            if self.num_candidates > 1 and not self.use_beam_search:
                raise RequestError("n" if self.best_of is None else "best_of", self.num_candidates,
                                   expected="1 with greedy sampling",
                                   hint="All answers would be the same: set a temperature above 0.")
            self.temperature, self.top_p, self.top_k, self.min_p = 0.0, 1.0, 0, 0.0
            self.drop_filters()
        else:
            self.temperature = max(self.temperature, MIN_TEMPERATURE)
        if self.mirostat:
            self.top_p, self.top_k, self.min_p = 1.0, 0, 0.0
        first = self.forced_bos_token
        is_id = isinstance(first, int) and not isinstance(first, bool) and 0 <= first <= MAX_COUNT
        if first is not None and not isinstance(first, str) and not is_id:
            raise RequestError("forced_bos_token", first, expected="the text of a token, or an id from 0 "
                               f"to {MAX_COUNT}")

    def _check_lengths(self) -> None:
        check_whole("min_tokens", self.min_tokens, 0, MAX_COUNT)
        if self.max_tokens is not None:
            check_whole("max_tokens", self.max_tokens, 1, MAX_COUNT)
            if self.min_tokens > self.max_tokens:
                raise RequestError("min_tokens", self.min_tokens, expected=f"at most max_tokens = {self.max_tokens}")
        for name, low in (("logprobs", -1), ("prompt_logprobs", -1), ("stream_interval", 1)):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), low, MAX_COUNT)
        if self.truncate_prompt_tokens is not None:
            check_whole("truncate_prompt_tokens", self.truncate_prompt_tokens, -1, MAX_COUNT)
            if self.truncate_prompt_tokens == 0:
                raise RequestError("truncate_prompt_tokens", 0, expected="at least 1, or -1 for what fits")
        if self.truncation_side not in ("left", "right"):
            raise RequestError("truncation_side", self.truncation_side, expected="left or right")
        if self.extra_outputs is not None:
            self.extra_outputs = list(dict.fromkeys(check_strings("extra_outputs", self.extra_outputs))) or None
        for name in ("prompt_logprobs", "extra_outputs"):
            if getattr(self, name) is None:
                continue
            if self.skip_reading_prefix_cache is False:
                raise RequestError("skip_reading_prefix_cache", False, expected=f"True with {name}",
                                   hint=f"{name} are not computed for the part of a prompt that is found in the cache.")
            self.skip_reading_prefix_cache = True

    def _check_beams(self) -> None:
        if self.picks_best and self.output_kind is RequestOutputKind.DELTA:
            raise RequestError("output_kind", self.output_kind, expected="CUMULATIVE or FINAL_ONLY with "
                               + ("use_beam_search" if self.use_beam_search else "best_of above n"),
                               hint="Which answers are the best is known when all have ended.")
        self.length_penalty = check_number("length_penalty", self.length_penalty, *LENGTH_PENALTY_RANGE)
        if not any(self.early_stopping is value or self.early_stopping == value == "never" for value in EARLY_STOPPING):
            raise RequestError("early_stopping", self.early_stopping, expected="False, True or 'never'")
        if self.use_beam_search:
            for name, off in _OFF_FOR_BEAMS.items():
                if getattr(self, name) != off:
                    raise NotBuiltError(name, getattr(self, name), expected=f"{off} with use_beam_search",
                                        hint="Beam search scores tokens by the model's own probabilities.")
            return
        for name, off in (("length_penalty", 1.0), ("early_stopping", False)):
            if getattr(self, name) != off:
                tell(name, "it belongs to beam search")
                setattr(self, name, off)

    def _check_stop(self) -> None:
        if isinstance(self.stop, str):
            self.stop = [self.stop]
        self.stop = check_strings("stop", [] if self.stop is None else self.stop)
        if self.stop and not self.detokenize:
            raise RequestError("detokenize", False, expected="True with stop strings",
                               hint="Use stop_token_ids, which need no text.")

    def _check_tokens(self) -> None:
        stop_ids = [] if self.stop_token_ids is None else self.stop_token_ids
        self.stop_token_ids = check_token_ids("stop_token_ids", stop_ids)
        if self.allowed_token_ids is not None:
            self.allowed_token_ids = check_token_ids("allowed_token_ids", self.allowed_token_ids)
            if not self.allowed_token_ids:
                raise RequestError("allowed_token_ids", [], expected="at least one token id, or None for all")
        if self.logprob_token_ids is not None:
            self._check_logprob_ids(list(dict.fromkeys(check_token_ids("logprob_token_ids", self.logprob_token_ids))))
        if self.logit_bias is not None:
            self.logit_bias = _logit_bias(self.logit_bias)
        for i, function in enumerate(self.logits_processors or ()):
            if not callable(function):
                raise RequestError(f"logits_processors[{i}]", function, expected="a function")
        if self.extra_args is not None and not isinstance(self.extra_args, dict):
            raise RequestError("extra_args", self.extra_args, expected="a dictionary")
        if self.bad_words is not None:
            self.bad_words = check_strings("bad_words", self.bad_words)
            if len(self.bad_words) > MAX_BAD_WORDS:
                raise RequestError("bad_words", len(self.bad_words), expected=f"at most {MAX_BAD_WORDS} words")

    def _check_logprob_ids(self, token_ids: list[int]) -> None:
        if len(token_ids) > MAX_LOGPROB_IDS:
            raise RequestError("logprob_token_ids", len(token_ids), expected=f"at most {MAX_LOGPROB_IDS} token ids")
        if token_ids and self.logprobs not in (None, len(token_ids)):
            raise RequestError("logprobs", self.logprobs, expected=f"as many as logprob_token_ids ({len(token_ids)})",
                               hint="The given tokens are reported instead of the likeliest ones.")
        self.logprob_token_ids = token_ids or None
        self.logprobs = len(token_ids) or self.logprobs


class BeamSearchParams(msgspec.Struct, metaclass=VllmParams, omit_defaults=True):
    """Parameters of a beam search with `beam_width` beams; score: sum of log-probabilities / length ** length_penalty.
    """

    beam_width: int
    max_tokens: int
    ignore_eos: bool = False
    temperature: float = 0.0
    length_penalty: float = 1.0
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True

    accept: ClassVar[Accept] = accept_beams

    def __post_init__(self) -> None:
        check_whole("beam_width", self.beam_width, 1, MAX_N)
        check_whole("max_tokens", self.max_tokens, 1, MAX_COUNT)
        for name in ("ignore_eos", "include_stop_str_in_output", "skip_special_tokens"):
            check_flag(name, getattr(self, name))
        self.temperature = check_number("temperature", self.temperature, 0, 2)
        self.length_penalty = check_number("length_penalty", self.length_penalty, *LENGTH_PENALTY_RANGE)


def _logit_bias(value: Any) -> dict[int, float]:
    """Checked {token id: bias}. Keys may be decimal strings, as in JSON."""
    if not isinstance(value, dict):
        raise RequestError("logit_bias", value, expected="a dictionary {token id: number}")
    bias = {}
    for key, number in value.items():
        token_id = int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 11 else key
        check_whole("logit_bias", token_id, 0, MAX_COUNT)
        if not isinstance(number, int | float) or isinstance(number, bool) or math.isnan(_clamp(number)):
            raise RequestError(f"logit_bias[{token_id}]", number, expected="a number from -100 to 100")
        bias[token_id] = _clamp(number)
    return bias


def _clamp(number: float) -> float:
    """`number` clamped to ±100. NaN stays NaN. An integer too large for a float does not overflow."""
    return float(-LOGIT_BIAS_LIMIT if number < -LOGIT_BIAS_LIMIT else min(number, LOGIT_BIAS_LIMIT))
