"""From a checkpoint directory to tokens through the public classes: in this process, in a child, many times over."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import weakref

import psutil
import pytest
from tiny_llama import make_checkpoint

from weft import AsyncLLM, BeamSearchParams, EngineArgs, RequestOutputKind, SamplingParams
from weft.llm import LLM

SAMPLED = SamplingParams(temperature=1.0, seed=4, max_tokens=60, ignore_eos=True, detokenize=False)
OPTIONS = {"num_threads": 1, "max_model_len": 256, "use_tqdm_on_load": False}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(make_checkpoint(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def expected(checkpoint):
    """The sampled tokens of one prompt, in this process."""
    with LLM(checkpoint, **OPTIONS) as llm:
        return llm.generate("once", SAMPLED, use_tqdm=False)[0].outputs[0].token_ids


def test_all_parameters_together_do_what_they_say(checkpoint):
    params = SamplingParams(
        n=2, temperature=0.9, top_p=0.95, top_k=40, min_p=0.01, seed=1, presence_penalty=0.5, frequency_penalty=0.5,
        repetition_penalty=1.1, min_tokens=5, max_tokens=8, logprobs=2, prompt_logprobs=1, logit_bias={32: 5.0},
        bad_words=["A"], allowed_token_ids=list(range(94)), truncate_prompt_tokens=3)
    with LLM(checkpoint, **OPTIONS) as llm:
        [output] = llm.generate("a long prompt", params, use_tqdm=False)

    assert len(output.prompt_logprobs) == len(output.prompt_token_ids) == 3
    for answer in output.outputs:
        assert 5 <= len(answer.token_ids) <= 8
        assert len(answer.logprobs) == len(answer.token_ids)
        assert set(answer.text) <= set(map(chr, range(33, 127))) - {"A"}      # ids 0 to 93 are "!" to "~"
        assert all(2 <= len(entry) <= 3 for entry in answer.logprobs)


def test_beams_are_sequences_that_the_model_gives_these_probabilities(checkpoint):
    with LLM(checkpoint, **OPTIONS) as llm:
        [found] = llm.beam_search("ab", BeamSearchParams(beam_width=3, max_tokens=4, ignore_eos=True))
        best = found.sequences[0]
        params = SamplingParams(max_tokens=1, prompt_logprobs=0)
        [scored] = llm.generate([best.tokens], params, use_tqdm=False)

    last = range(len(best.tokens) - 4, len(best.tokens))
    given = [scored.prompt_logprobs[i][best.tokens[i]].logprob for i in last]
    assert best.cum_logprob == pytest.approx(sum(given), abs=1e-3)
    assert [s.cum_logprob for s in found.sequences] == sorted((s.cum_logprob for s in found.sequences), reverse=True)


async def test_a_child_process_gives_the_same_tokens_also_when_it_is_killed_in_between(checkpoint, expected):
    llm = await asyncio.to_thread(AsyncLLM.from_engine_args, EngineArgs(model=checkpoint, **OPTIONS))
    params = SAMPLED.clone()
    params.output_kind = RequestOutputKind.DELTA
    token_ids, killed = [], False
    try:
        async for output in llm.generate("once", params, "r"):
            token_ids += output.outputs[0].token_ids
            if len(token_ids) >= 5 and not killed:
                killed = True
                os.kill(llm._client.pid, signal.SIGKILL)
    finally:
        await asyncio.to_thread(llm.shutdown)

    assert token_ids == expected


def test_ten_models_one_after_another_leave_memory_flat(tmp_path):
    cache_bytes = 30_000_000
    sizes = []
    for i in range(10):
        directory = make_checkpoint(tmp_path / str(i), rope_theta=10_000.0 + i)
        with LLM(str(directory), kv_cache_memory_bytes=cache_bytes, **OPTIONS) as llm:
            [model] = llm.apply_model(weakref.ref)
            llm.generate([[i] * 200], SAMPLED, use_tqdm=False)
            assert model() is not None
        assert model() is None      # gone at once, not when the garbage collector comes round
        sizes.append(psutil.Process().memory_info().rss)

    assert sizes[-1] - sizes[1] < cache_bytes


SCRIPT = """
import asyncio, sys
from weft import LLM, AsyncLLM, EngineArgs, SamplingParams

params = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)
options = dict(num_threads=1, max_model_len=256, use_tqdm_on_load=False)
llm = LLM(sys.argv[1], **options)
here = llm.generate("once", params, use_tqdm=False)[0].outputs[0].token_ids
child = AsyncLLM.from_engine_args(EngineArgs(model=sys.argv[1], **options))

async def last():
    async for output in child.generate("once", params, "r"):
        pass
    return output.outputs[0].token_ids

print(here == asyncio.run(last()))
"""


def test_a_script_needs_no_main_guard_and_leaves_no_process_when_it_just_ends(checkpoint, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    done = subprocess.run([sys.executable, str(script), checkpoint], capture_output=True, text=True, timeout=120,
                          env={"PYTHONPATH": os.pathsep.join(sys.path)})

    assert (done.stdout.split(), done.returncode) == (["True"], 0), done.stderr
