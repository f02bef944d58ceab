"""`Step.taps`: hidden states of chosen blocks equal those of Transformers, in every kind of step, recorded or not."""

import time
from dataclasses import replace

import pytest
import torch
from isa_levels import native_levels
from tiny_llama import LAYERS, make_checkpoint
from transformers import AutoModelForCausalLM

from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.engine.core import EngineCore
from weft.engine.process.messages import EngineRequest
from weft.ops.step import Step
from weft.resolve.engine_config import resolve_engine_config
from weft.sampling_params import SamplingParams

PROMPTS = [[1 + i, 7, 9 + 2 * i, 5, 30 + i] * (1 + i) for i in range(4)]
BLOCKS = 0, LAYERS            # what goes into the first block, and what comes out of the last


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"))


def make_core(directory, **options):
    args = EngineArgs(model=str(directory), max_model_len=128, num_threads=1, use_tqdm_on_load=False, dtype="float32",
                      **options)
    return EngineCore(resolve_engine_config(args, Machine.detect()))


def tapped(core, monkeypatch, blocks):
    """{request id: (its tokens, {block: [rows, E]})} of all prompts together, ten tokens each."""
    runner, found = core.runner, {str(i): (list(prompt), {block: [] for block in blocks}) for i, prompt in
                                  enumerate(PROMPTS)}
    forward, execute = runner.model.forward, runner.execute

    def forward_with_taps(step):
        step = replace(step, taps={block: torch.empty(len(step.input_ids), 32) for block in blocks})
        for x in step.taps.values():
            x.fill_(torch.nan)
        out = forward(step)
        forward_with_taps.taps = step.taps
        return out

    def execute_and_sort(step_plan):
        results, row = execute(step_plan), 0
        for item in step_plan.scheduled:
            for block, x in forward_with_taps.taps.items():
                found[item.seq.request.request_id][1][block].append(x[row : row + item.num_new_tokens])
            row += item.num_new_tokens
        return results

    monkeypatch.setattr(runner.model, "forward", forward_with_taps)
    monkeypatch.setattr(runner, "execute", execute_and_sort)
    for i, prompt in enumerate(PROMPTS):
        params = SamplingParams(temperature=0.0, max_tokens=10, ignore_eos=True)
        core.add(EngineRequest(request_id=str(i), prompt_token_ids=prompt, eos_token_ids=[], params=params,
                               arrival_time=time.monotonic()))
    while core.has_unfinished:
        for output in core.step().outputs:
            found[output.request_id][0].extend(output.new_token_ids)
    return {name: (tokens, {block: torch.cat(rows) for block, rows in taps.items()})
            for name, (tokens, taps) in found.items()}


def recorded(core):
    return set(core.runner.model.module.steps._recordings)


@pytest.mark.parametrize("options", [
    {}, {"max_num_batched_tokens": 7, "max_num_seqs": 3}, {"cpu_isa": "reference"}, {"enforce_eager": True},
], ids=["in company", "chunked", "reference", "not recorded"])
def test_taps_are_the_hidden_states_of_transformers(directory, monkeypatch, options):
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    core = make_core(directory, **options)

    for tokens, taps in tapped(core, monkeypatch, BLOCKS).values():
        with torch.no_grad():
            wanted = model(torch.tensor([tokens[:-1]]), output_hidden_states=True).hidden_states
            last = model.model.norm(taps[LAYERS])             # Transformers' last is behind the final norm
        torch.testing.assert_close(taps[0], wanted[0][0], rtol=0, atol=1e-4)
        torch.testing.assert_close(last, wanted[LAYERS][0], rtol=0, atol=1e-3)


@pytest.mark.skipif(not native_levels(), reason="no native kernels here")
def test_steps_with_taps_are_recorded_for_their_blocks_and_give_the_same_bits(directory, monkeypatch):
    core, plain = make_core(directory), make_core(directory, enforce_eager=True)

    found, wanted = (tapped(c, monkeypatch, (1, LAYERS)) for c in (core, plain))

    assert ((1,) * 4, (1, LAYERS)) in recorded(core)
    assert not recorded(plain)
    for name, (tokens, taps) in wanted.items():
        assert found[name][0] == tokens
        assert all(torch.equal(found[name][1][block], rows) for block, rows in taps.items())


@pytest.mark.skipif(not native_levels(), reason="no native kernels here")
def test_a_recording_with_taps_is_not_taken_for_a_step_without(directory, monkeypatch):
    core = make_core(directory)
    with monkeypatch.context() as patch:
        first = tapped(core, patch, (1,))
    second = tapped(core, monkeypatch, (LAYERS,))

    assert {((1,) * 4, (1,)), ((1,) * 4, (LAYERS,))} <= recorded(core)
    assert [tokens for tokens, _ in first.values()] == [tokens for tokens, _ in second.values()]


@pytest.mark.parametrize(("taps", "text"), [
    ({3: torch.zeros(2, 32)}, r"step\.taps\[3\]: expected 0 to 2"),
    ({-1: torch.zeros(2, 32)}, r"step\.taps\[-1\]: expected 0 to 2"),
    ({1: torch.zeros(3, 32)}, r"step\.taps\[1\] is torch.float32 \[3, 32\], expected torch.float32 \[2, 32\]"),
    ({1: torch.zeros(2, 32).half()}, r"step\.taps\[1\] is torch.float16"),
])
def test_taps_that_nothing_would_fill_are_refused(directory, taps, text):
    core, ids = make_core(directory), torch.zeros(2, dtype=torch.int64)

    with pytest.raises(ValueError, match=text):
        core.runner.model.forward(Step(input_ids=ids, positions=ids, query_lens=(2,), taps=taps))
