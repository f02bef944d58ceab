"""Requests that are answered alone and in company: their prompts, and the logits of each new token."""

import random

from weft import SamplingParams

PARAMS = SamplingParams(temperature=0, max_tokens=18, ignore_eos=True, logprobs=-1)
MOST = 32


def prompts():
    """32 prompts of up to 150 tokens; a quarter of them begin with the same 70."""
    rng = random.Random(5)
    shared = [rng.randrange(250) for _ in range(70)]
    return [(shared if i % 4 == 0 else []) + [rng.randrange(250) for _ in range(rng.choice([1, 5, 16, 40, 80]))]
            for i in range(MOST)]


def logits(llm, order):
    """({prompt's number: the logits of each new token, by token id}, the outputs). order: numbers of the prompts."""
    asked = prompts()
    outputs = llm.generate([{"prompt_token_ids": asked[i]} for i in order], PARAMS, use_tqdm=False)
    return {i: [{token: entry.logprob for token, entry in position.items()} for position in output.outputs[0].logprobs]
            for i, output in zip(order, outputs, strict=True)}, outputs
