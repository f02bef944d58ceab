"""Answers of engine cores and of engines in another process, token by token."""

from __future__ import annotations

import time

from weft import AsyncLLM, EngineArgs, SamplingParams
from weft.engine.process.messages import EngineRequest
from weft.llm import LLM


def core_answers(core, prompts, *, max_tokens=(12,)):
    """[(token ids, logits of each)] of prompts that run together; max_tokens: by turns."""
    for i, prompt in enumerate(prompts):
        params = SamplingParams(temperature=0.0, max_tokens=max_tokens[i % len(max_tokens)], seed=0, logprobs=-1)
        core.add(EngineRequest(request_id=str(i), prompt_token_ids=prompt, eos_token_ids=[], params=params,
                               arrival_time=time.monotonic()))
    found = [([], []) for _ in prompts]
    while core.has_unfinished:
        for output in core.step().outputs:
            tokens, logits = found[int(output.request_id)]
            tokens += output.new_token_ids
            logits += [(entry.token_ids, entry.logprobs) for entry in output.logprobs]
    return found


def answer_here(directory, prompt, params, **options):
    """The token ids of the answer to one prompt, in this process."""
    with LLM(model=str(directory), **options) as llm:
        return list(llm.generate(prompt, params, use_tqdm=False)[0].outputs[0].token_ids)


async def answer_of_another_process(directory, prompt, params, **options):
    """The same from an engine in a child process."""
    engine = AsyncLLM.from_engine_args(EngineArgs(model=str(directory), **options))
    try:
        async for output in engine.generate(prompt, params, "one"):
            last = output
        return list(last.outputs[0].token_ids)
    finally:
        engine.shutdown()
