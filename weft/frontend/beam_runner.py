"""Runs beam searches on an engine. Each round is one request of one token for each live beam.

The prefix cache makes the rounds cheap: a beam's tokens are cached from the round before.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from weft.engine.process.messages import EngineOutput, EngineRequest, TokenLogprobs
from weft.errors import RequestError, WeftError
from weft.frontend.beam_search import BeamSearch, num_candidates
from weft.frontend.llm_engine import LLMEngine
from weft.frontend.progress import Progress
from weft.frontend.prompts import parse_prompt
from weft.outputs import BeamSearchOutput
from weft.sampling_params import BeamSearchParams, SamplingParams


def run_beam_search(engine: LLMEngine, prompts: Sequence[Any], params: BeamSearchParams,
                    use_tqdm: bool | Callable[..., Any], concurrency_limit: int | None) -> list[BeamSearchOutput]:
    """The best beams of each prompt, in order. RequestError for a wrong prompt; WeftError if a beam fails.

    concurrency_limit: the number of prompts searched at a time; None: all.
    """
    if not isinstance(params, BeamSearchParams):
        raise RequestError("params", params, expected="a BeamSearchParams")
    engine.inputs.require_task("generate")
    if concurrency_limit is not None and (type(concurrency_limit) is not int or concurrency_limit < 1):
        raise RequestError("concurrency_limit", concurrency_limit, expected="an integer of at least 1, or None")
    searches = [_search(engine, prompt, params) for prompt in prompts]
    sampling = SamplingParams(
        max_tokens=1, temperature=params.temperature, seed=0, ignore_eos=True, detokenize=False,
        logprobs=min(num_candidates(params), engine.inputs.vocab_size))
    names = (f"beam-{number}" for number in itertools.count())
    limit = concurrency_limit or max(len(searches), 1)
    with Progress(len(searches), use_tqdm, "Beam search") as progress:
        for first in range(0, len(searches), limit):
            _run(engine, searches[first: first + limit], sampling, names)
            progress.advance(min(limit, len(searches) - first))
    return [_output(engine, search, params) for search in searches]


def _search(engine: LLMEngine, prompt: Any, params: BeamSearchParams) -> BeamSearch:
    inputs = engine.inputs
    token_ids = inputs.encode(parse_prompt(prompt))
    inputs.check_length(len(token_ids))
    return BeamSearch(token_ids, params, eos_token_ids=inputs.eos_token_ids,
                      max_tokens=min(params.max_tokens, inputs.max_model_len - len(token_ids)))


def _run(engine: LLMEngine, searches: Sequence[BeamSearch], sampling: SamplingParams, names: Iterator[str]) -> None:
    while any(search.live for search in searches):
        requests = [
            EngineRequest(request_id=next(names), prompt_token_ids=beam.tokens, params=sampling, eos_token_ids=[],
                          arrival_time=time.monotonic())
            for search in searches for beam in search.live]
        answers = iter(engine.run_sequences(requests))
        for search in searches:
            if search.live:
                search.advance([_next_tokens(next(answers)) for _ in search.live])


def _next_tokens(output: EngineOutput) -> TokenLogprobs:
    if output.finish_reason == "error" or not output.logprobs:
        raise WeftError(f"beam search: the engine failed a beam: {output.error}")
    return output.logprobs[0]


def _output(engine: LLMEngine, search: BeamSearch, params: BeamSearchParams) -> BeamSearchOutput:
    sequences = search.best()
    if engine.tokenizer is not None:
        for sequence in sequences:
            sequence.text = engine.tokenizer.decode(sequence.tokens, skip_special_tokens=params.skip_special_tokens)
    return BeamSearchOutput(sequences=sequences)
