"""Turns a prompt and its parameters into `EngineRequest`s: tokenizes, truncates, checks; one request for each answer.

This is the last check of user input: the engine trusts every request made here. It knows no queue and no output.
"""

from __future__ import annotations

import itertools
import time
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from typing import Any

import msgspec

from weft.config.engine_config import EngineConfig
from weft.engine.process.messages import NO_TOKEN, EngineInfo, EngineRequest, WireTensor
from weft.errors import RequestError
from weft.field_checks import MAX_COUNT, check_text
from weft.frontend.allowed_tokens import check_some_token_is_allowed
from weft.frontend.bad_words import bad_word_ids
from weft.frontend.beam_search import BeamSearch, step_params
from weft.frontend.dry import breaker_ids
from weft.frontend.long_inputs import in_parts, pooled_limit
from weft.frontend.media_inputs import MediaInputs
from weft.frontend.pooling_inputs import check_types, complete_pooling, pair_ids, refuse_task
from weft.frontend.prompt_ids import PromptIds, cut, forced_bos, named, refuse_forced_bos, refuse_ids_params
from weft.frontend.prompt_limit import PromptLimit, context_limit, prompt_limit
from weft.frontend.prompts import Prompt, parse_prompt
from weft.frontend.reasoning import FormStart
from weft.frontend.speech_inputs import SpeechInputs
from weft.frontend.tokenization import Tokenization
from weft.frontend.vocabulary import EngineVocabulary
from weft.grammar.form import ConstraintSpec
from weft.grammar.read import read_constraint
from weft.pooling_params import PoolingParams
from weft.sampling_params import BeamSearchParams, SamplingParams
from weft.structured_outputs import FIELD
from weft.text.tokenizer import Tokenizer

_SEED_MASK = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedRequest:
    """One checked request. params: a copy of the user's. children: the engine's requests, one for each answer.

    prompt_token_ids: empty if the prompt is `num_prompt_embeds` embedding rows.
    encoder_prompt, encoder_prompt_token_ids: of a model with an encoder; then `prompt` and its ids are the decoder's.
    """

    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    params: SamplingParams
    arrival_time: float
    children: list[EngineRequest]
    num_prompt_embeds: int = 0
    encoder_prompt: str | None = None
    encoder_prompt_token_ids: list[int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedPooling:
    """One checked pooling request. children: the engine's requests, several for the parts of a text that is too long;
    normalizes: their average is scaled to length 1."""

    request_id: str
    prompt_token_ids: list[int]
    params: PoolingParams
    arrival_time: float
    children: list[EngineRequest]
    normalizes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedBeams(PreparedRequest):
    """One checked request with `use_beam_search`. children: the engine's request of the search's first step."""

    search: BeamSearch


Prepared = PreparedRequest | PreparedPooling


class InputProcessor:
    """Makes the requests for one engine. info: the started engine's properties.

    max_model_len: the most tokens of prompt and output together, from the engine's memory plan.
    limit: of prompts to generate from.
    vocabulary: the tokens' bytes, for the engine's grammars.
    """

    def __init__(self, config: EngineConfig, tokenizer: Tokenizer | None, info: EngineInfo) -> None:
        self.tokenizer = tokenizer
        self.max_model_len = info.max_model_len
        self.limit, self._context = prompt_limit(info), context_limit(info.max_model_len)
        self.media = MediaInputs(config, info)
        self.speech = SpeechInputs(config, info, self.media)
        self._info, self._model = info, config.model
        self.vocab_size = config.model.vocab_size
        self._seed = config.model.seed
        self._numbers = itertools.count()
        self._max_logprobs = self.vocab_size if config.model.max_logprobs == -1 else config.model.max_logprobs
        self._max_new_tokens = config.model.generation_defaults.get("max_new_tokens") or MAX_COUNT
        self._has_priorities = config.scheduler.policy == "priority"
        eos = {*config.model.eos_token_ids, *(() if tokenizer is None else (tokenizer.eos_token_id,))}
        self.eos_token_ids = sorted(i for i in eos if i is not None and 0 <= i < self.vocab_size)
        self._form_start = FormStart(config.model.reasoning_parser, tokenizer,
                                     enable_in_reasoning=config.model.enable_in_reasoning)
        self.vocabulary = EngineVocabulary(vocab_size=self.vocab_size, eos_token_ids=self.eos_token_ids)

    def prepare(self, request_id: str, prompt: Any, params: SamplingParams | PoolingParams, *, priority: int = 0,
                client: str | None = None, arrival_time: float | None = None, add_special_tokens: bool = True,
                tokenization: Tokenization | None = None) -> Prepared:
        """Check and tokenize a request. RequestError names the wrong field. Slow for long prompts (tokenizing).

        prompt: a `PromptType`. params: SamplingParams to generate; PoolingParams with a task to pool. The model must
        support the task. tokenization: of a prompt to pool, in place of `add_special_tokens`.
        """
        if not check_text("request_id", request_id):
            raise RequestError("request_id", request_id, expected="a string that is not empty")
        if not isinstance(params, SamplingParams | PoolingParams):
            raise RequestError("sampling_params", params, expected="a SamplingParams")
        self.require_task("generate" if isinstance(params, SamplingParams) else params.task)
        params = params.clone()
        self._check_priority(priority)
        parsed = parse_prompt(prompt)
        arrival_time = time.monotonic() if arrival_time is None else arrival_time
        shared = {"arrival_time": arrival_time, "priority": priority, "cache_salt": parsed.cache_salt, "client": client}
        if isinstance(params, PoolingParams):
            tokenization = tokenization or Tokenization(add_special_tokens=add_special_tokens)
            return self._pooling(request_id, parsed, params, shared, tokenization)
        return self._generating(request_id, parsed, params, shared, add_special_tokens=add_special_tokens)

    def _generating(self, request_id: str, parsed: Prompt, params: SamplingParams, shared: dict[str, Any], *,
                    add_special_tokens: bool) -> PreparedRequest | PreparedBeams:
        if parsed.second_text is not None or parsed.token_type_ids is not None:
            raise RequestError("token_type_ids" if parsed.second_text is None else "prompt", parsed.token_type_ids,
                               expected="one text or token ids without types, to generate from")
        if params.use_beam_search:
            return self._beams(request_id, parsed, params, shared, add_special_tokens=add_special_tokens)
        self._check_params(params)
        bad_words = [] if not params.bad_words else bad_word_ids(
            params.bad_words, self._require_tokenizer("bad_words"), self.vocab_size)
        bad_words += [[token_id] for token_id in self._model.suppress_token_ids]
        check_some_token_is_allowed(params, self.eos_token_ids, bad_words, self.vocab_size)
        shared |= {"eos_token_ids": self.eos_token_ids, "bad_words_token_ids": bad_words,
                   "not_first_token_ids": list(self._model.begin_suppress_token_ids),
                   "dry_breaker_ids": breaker_ids(params, self.tokenizer)}
        found = PromptIds(parsed.text, [])
        if parsed.embeds is None:
            found = self._prompt_ids(parsed, params, add_special_tokens=add_special_tokens)
            shared |= found.for_engine
        else:
            refuse_ids_params(params)
            embeds = self.read_prompt_embeds(parsed.embeds)
            shared |= {"prompt_embeds": embeds, "prompt_token_ids": [NO_TOKEN] * embeds.shape[0]}
        shared["constraint"] = self._constraint(params, found.ids)
        num_tokens = len(shared["prompt_token_ids"])
        self._context.check(num_tokens)
        children = [EngineRequest(request_id=child_id(request_id, i, params.num_candidates), params=child, **shared)
                    for i, child in enumerate(self._child_params(params, num_tokens))]
        return PreparedRequest(
            request_id=request_id, params=params, arrival_time=shared["arrival_time"], children=children,
            num_prompt_embeds=num_tokens - len(found.ids), **found.for_output)

    def _beams(self, request_id: str, parsed: Prompt, params: SamplingParams, shared: dict[str, Any], *,
               add_special_tokens: bool) -> PreparedBeams:
        if parsed.embeds is not None or parsed.has_media:
            raise RequestError("prompt_embeds" if parsed.embeds is not None else "multi_modal_data", "rows or media",
                               expected="text or token ids to search")
        found = self._prompt_ids(parsed, params, add_special_tokens=add_special_tokens)
        token_ids = found.ids + found.forced                # where a token is forced, there is nothing to search
        self._context.check(len(token_ids))
        max_tokens = max(self._max_tokens(params, len(found.ids)) - len(found.forced), 1)
        beams = BeamSearchParams(
            beam_width=params.num_candidates, max_tokens=max_tokens,
            ignore_eos=params.ignore_eos, temperature=params.temperature, length_penalty=params.length_penalty)
        search = BeamSearch(token_ids, beams, eos_token_ids=self.eos_token_ids, max_tokens=beams.max_tokens,
                            early_stopping=params.early_stopping)
        step = msgspec.structs.replace(step_params(beams, self.vocab_size),
                                       skip_reading_prefix_cache=params.skip_reading_prefix_cache)
        child = EngineRequest(request_id=request_id, prompt_token_ids=token_ids, params=step, eos_token_ids=[],
                              encoder_token_ids=found.encoder or [], **shared)
        return PreparedBeams(request_id=request_id, params=params, arrival_time=shared["arrival_time"],
                             children=[child], search=search, **found.for_output)

    def _pooling(self, request_id: str, parsed: Prompt, params: PoolingParams, shared: dict[str, Any],
                 tokenization: Tokenization) -> PreparedPooling:
        if parsed.embeds is not None:
            raise RequestError("prompt_embeds", "rows", expected="text or token ids to pool")
        if parsed.encoder is not None:
            raise RequestError("encoder_prompt", parsed.encoder.text, expected="one prompt, text or token ids, to pool")
        complete_pooling(params, self._info.pooling)
        limit = pooled_limit(params.task, self.max_model_len, self._model.pooler_config)
        token_ids, types = self._ids_to_pool(parsed, tokenization, limit)
        check_types(types, self._info.pooling.num_token_types)
        limit.check(len(token_ids))
        whole = EngineRequest(request_id=request_id, prompt_token_ids=token_ids, params=params, eos_token_ids=[],
                              token_type_ids=types if any(types) else [], **shared)
        normalizes = self._info.pooling.normalizes if params.use_activation is None else params.use_activation
        return PreparedPooling(request_id=request_id, prompt_token_ids=token_ids, params=params, normalizes=normalizes,
                               children=in_parts(whole, self.max_model_len), arrival_time=shared["arrival_time"])

    def _ids_to_pool(self, parsed: Prompt, how: Tokenization, limit: PromptLimit) -> tuple[list[int], list[int]]:
        """(token ids, token types) of a prompt, cut as asked. No types: all are 0."""
        if parsed.second_text is not None and self._info.pooling.joins_pairs:
            parsed = replace(parsed, text=f"{parsed.text}{parsed.second_text}", second_text=None)
        if parsed.second_text is not None:
            token_ids, types = pair_ids(self._require_tokenizer("prompt"), parsed, how, self.max_model_len)
            self.check_ids(token_ids, hint="The tokenizer has more tokens than the model.")
            return token_ids, types if self._info.pooling.num_token_types > 1 else []
        token_ids = self.encode(parsed, add_special_tokens=how.add_special_tokens,
                                limit=limit if how.truncate_prompt_tokens is None else None)
        kept = how.cut(token_ids, parsed.text, self.tokenizer, self.max_model_len)
        return kept, how.cut(parsed.token_type_ids or [], None, None, self.max_model_len)

    def require_task(self, task: str | None) -> None:
        """RequestError unless the model supports `task`: "generate", or a task of PoolingParams."""
        refuse_task(task, self._info.tasks)

    def read_prompt_embeds(self, embeds: Any) -> WireTensor:
        """Checked embedding rows [T, E]. RequestError for prompt_embeds if they are wrong or the engine takes none."""
        size = self._info.prompt_embeds_size
        if not self._model.enable_prompt_embeds:
            raise RequestError("prompt_embeds", type(embeds).__name__, expected="text or token ids",
                               hint="Start the engine with enable_prompt_embeds (--enable-prompt-embeds).")
        if size is None:
            raise RequestError("prompt_embeds", type(embeds).__name__, expected="text or token ids",
                               hint=f"{self._model.architecture} takes no embeddings.")
        if isinstance(embeds, WireTensor):      # read before
            return embeds
        from weft.frontend.prompt_embeds import read_prompt_embeds  # needs torch, which is slow to import

        return read_prompt_embeds(embeds, size=size, dtype=self._model.dtype, max_num_tokens=self.max_model_len - 1)

    def _prompt_ids(self, parsed: Prompt, params: SamplingParams, *, add_special_tokens: bool = True) -> PromptIds:
        """The token ids of a prompt without embeddings, checked and truncated.

        RequestError for an encoder's prompt that the model has no encoder for, or that is too long for its encoder.
        """
        if self._info.encoder_row_size is not None:
            return self.speech.read(parsed, params, self.encode)
        if parsed.media is not None:
            token_ids, media = self.media.read(parsed, params, add_special_tokens=add_special_tokens)
            self.check_ids(token_ids)
            return PromptIds(parsed.text, token_ids, media=media)
        if self._info.encoder_vocab_size is not None:
            return self._pair_ids(parsed, params, add_special_tokens=add_special_tokens)
        refuse_forced_bos(params, self._model.architecture)
        if parsed.encoder is not None:
            raise RequestError("encoder_prompt", parsed.encoder.text or parsed.encoder.token_ids, expected="None",
                               hint=f"{self._model.architecture} has no encoder: give the whole input as the prompt.")
        limit = self.limit if params.truncate_prompt_tokens is None else None
        token_ids = self.truncate(self.encode(parsed, add_special_tokens=add_special_tokens, limit=limit), params)
        return PromptIds(parsed.text, token_ids)

    def _pair_ids(self, parsed: Prompt, params: SamplingParams, *, add_special_tokens: bool) -> PromptIds:
        """The ids of both prompts of a model with an encoder. A single prompt is the encoder's."""
        name, limit = "prompt" if parsed.encoder is None else "encoder_prompt", params.truncate_prompt_tokens
        longest = self.limit.longest
        with named(name):
            encoder = self.encode(parsed.encoder or parsed, add_special_tokens=add_special_tokens,
                                  limit=self.limit if limit is None else None)
        encoder = encoder if limit is None else cut(encoder, longest if limit == -1 else limit, params.truncation_side)
        self.limit.check(len(encoder), name)
        start, ids = self._model.decoder_start_token_id, []
        if parsed.encoder is not None and (parsed.text is not None or parsed.token_ids is not None):
            with named("decoder_prompt"):
                ids = self.encode(parsed, add_special_tokens=False, vocab_size=self.vocab_size)
        if start is None and not ids:
            raise RequestError("decoder_prompt", None, expected="token ids that the decoder starts from",
                               hint="The model's files name no decoder_start_token_id.")
        if start is not None and ids[:1] != [start]:
            ids = [start, *ids]
        forced = forced_bos(params, self._model.forced_bos_token_id, self.tokenizer, self.vocab_size,
                            is_first=len(ids) == 1)
        text, encoder_text = (None, parsed.text) if parsed.encoder is None else (parsed.text, parsed.encoder.text)
        last = self._model.forced_eos_token_id if params.structured_outputs is None else None
        return PromptIds(text, ids, encoder_text, encoder, [] if forced is None else [forced], last)

    def encode(self, prompt: Prompt, *, add_special_tokens: bool = True, vocab_size: int | None = None,
               limit: PromptLimit | None = None) -> list[int]:
        """The prompt's token ids, checked against the vocabulary. A prompt given as token ids is not tokenized.

        vocab_size: None: the vocabulary of prompts, which is the encoder's in a model that has one.
        limit: a text that its beginning shows to be longer is refused; the caller checks the ids.
        """
        vocab_size = vocab_size or self._info.encoder_vocab_size or self.vocab_size
        if prompt.embeds is not None or prompt.media is not None:
            raise RequestError("prompt_embeds" if prompt.media is None else "multi_modal_data", "rows or media",
                               expected="text or token ids here")
        if prompt.token_ids is not None:
            token_ids, hint = prompt.token_ids, ""
        else:
            assert prompt.text is not None, "a prompt has text, ids or rows"
            tokenizer = self._require_tokenizer("prompt")
            if limit is not None:
                limit.check_beginning(prompt.text, partial(tokenizer.encode, add_special_tokens=False))
            token_ids = tokenizer.encode(prompt.text, add_special_tokens=add_special_tokens)
            hint = "The tokenizer has more tokens than the model."
        if not token_ids:
            raise RequestError("prompt", prompt.text, expected="text with at least one token")
        self.check_ids(token_ids, vocab_size=vocab_size, hint=hint)
        return token_ids

    def check_ids(self, token_ids: list[int], *, vocab_size: int | None = None, hint: str = "") -> None:
        """RequestError for an id outside the vocabulary. vocab_size: None: the model's."""
        vocab_size = vocab_size or self.vocab_size
        if min(token_ids) < 0 or max(token_ids) >= vocab_size:
            i = next(i for i, token_id in enumerate(token_ids) if not 0 <= token_id < vocab_size)
            raise RequestError(f"prompt_token_ids[{i}]", token_ids[i], hint=hint,
                               expected=f"token ids from 0 to {vocab_size - 1} (the vocabulary)")

    def truncate(self, token_ids: list[int], params: SamplingParams) -> list[int]:
        """`truncate_prompt_tokens` of the ids. -1: as many as leave room for max_tokens (1 token if it is None)."""
        limit = params.truncate_prompt_tokens
        if limit == -1:
            limit = self.max_model_len - min(params.max_tokens or 1, self._max_new_tokens, self.max_model_len - 1)
        return token_ids if limit is None else cut(token_ids, limit, params.truncation_side)

    def _child_params(self, params: SamplingParams, num_prompt_tokens: int) -> list[SamplingParams]:
        """The engine's parameters for each answer: with its own seed, with limits as numbers, without stop strings.

        With `best_of` each answer asks for the log-probabilities of its tokens. Only the first one asks for
        prompt_logprobs.
        """
        max_tokens = self._max_tokens(params, num_prompt_tokens)
        logprobs = 0 if params.logprobs is None and params.best_of is not None else self._count(params.logprobs)
        seed = _derived_seed(self._seed, next(self._numbers)) if params.seed is None else params.seed
        common = {"n": 1, "max_tokens": max_tokens, "min_tokens": min(params.min_tokens, max_tokens), "stop": [],
                  "bad_words": None, "structured_outputs": None, "truncate_prompt_tokens": None,
                  "truncation_side": "left", "logprobs": logprobs, "best_of": None,
                  "stop_token_ids": _distinct(params.stop_token_ids),
                  "allowed_token_ids": _distinct(params.allowed_token_ids)}
        first = {"prompt_logprobs": self._count(params.prompt_logprobs)}
        later = {"prompt_logprobs": None}
        return [msgspec.structs.replace(params, seed=(seed + i) & _SEED_MASK, **common, **(later if i else first))
                for i in range(params.num_candidates)]

    def _max_tokens(self, params: SamplingParams, num_prompt_tokens: int) -> int:
        return min(params.max_tokens or MAX_COUNT, self._max_new_tokens, self.max_model_len - num_prompt_tokens)

    def _check_params(self, params: SamplingParams) -> None:
        params.check_vocabulary(self.vocab_size)
        for name in params.extra_outputs or ():
            if name not in self._info.extra_outputs:
                raise RequestError("extra_outputs", name, expected="names that this model has",
                                   hint=f"It has {', '.join(self._info.extra_outputs) or 'none'}.")
        for name in ("logprobs", "prompt_logprobs"):
            value = getattr(params, name) if name != "logprobs" or params.logprob_token_ids is None else None
            if value is not None and (self.vocab_size if value == -1 else value) > self._max_logprobs:
                raise RequestError(name, value, expected=f"at most max_logprobs = {self._max_logprobs}",
                                   hint="-1 asks for the whole vocabulary." if value == -1 else "")
        if params.stop:
            self._require_tokenizer("stop")

    def _check_priority(self, priority: Any) -> None:
        if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) > MAX_COUNT:
            raise RequestError("priority", priority, expected=f"an integer from {-MAX_COUNT} to {MAX_COUNT}")
        if priority and not self._has_priorities:
            raise RequestError("priority", priority, expected="0 under the scheduling policy fcfs",
                               hint="Start the engine with scheduling_policy='priority'.")

    def _constraint(self, params: SamplingParams, prompt_token_ids: list[int]) -> ConstraintSpec | None:
        """The grammar of the answer, if the request wants one. Makes the vocabulary, which the engine needs for it."""
        if params.structured_outputs is None:
            return None
        self.vocabulary.read(self._require_tokenizer(FIELD))
        return read_constraint(self._form_start.of(params, params.structured_outputs, prompt_token_ids))

    def _count(self, value: int | None) -> int | None:
        return value if value is None else self.vocab_size if value == -1 else min(value, self.vocab_size)

    def _require_tokenizer(self, field: str) -> Tokenizer:
        if self.tokenizer is None:
            raise RequestError(field, "text", expected="token ids only, as the engine has no tokenizer",
                               hint="Start it without skip_tokenizer_init.")
        return self.tokenizer


def _distinct(token_ids: list[int] | None) -> list[int] | None:
    """The ids without duplicates, because every answer gets its own copy of the list."""
    return token_ids and list(dict.fromkeys(token_ids))


def child_id(request_id: str, index: int, n: int) -> str:
    """The engine's request id for answer `index` of n."""
    return request_id if n == 1 else f"{index}_{request_id}"


def _derived_seed(engine_seed: int, number: int) -> int:
    """The seed of the engine's `number`-th request without a seed."""
    return int.from_bytes(blake2b(f"{engine_seed}:{number}".encode(), digest_size=8).digest(), "big") & _SEED_MASK
