"""The engine's core: one bad request ends alone, blocks come back, counters add up."""

import time

import pytest
import torch
from tiny_llama import make_checkpoint

from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.engine.core import EngineCore
from weft.engine.process.messages import EngineRequest
from weft.errors import QueueFullError, RequestError
from weft.resolve.engine_config import resolve_engine_config
from weft.sampling_params import SamplingParams

POISON = 200                   # a prompt token that the tests below make the model fail on


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture
def core(directory):
    return make_core(directory)


def make_core(directory, **options):
    args = EngineArgs(model=str(directory), max_model_len=128, num_threads=1, use_tqdm_on_load=False,
                      **({"max_num_seqs": 8} | options))
    return EngineCore(resolve_engine_config(args, Machine.detect()))


def request(name, prompt, *, max_tokens=5, **params):
    return EngineRequest(request_id=name, prompt_token_ids=prompt, eos_token_ids=[], arrival_time=time.monotonic(),
                         params=SamplingParams(**({"temperature": 0.0, "max_tokens": max_tokens, "seed": 0} | params)))


def run(core):
    """{request id: (token ids, last output)} after all steps."""
    tokens, last = {}, {}
    while core.has_unfinished:
        for output in core.step().outputs:
            tokens.setdefault(output.request_id, []).extend(output.new_token_ids)
            last[output.request_id] = output
        core.check()
    return {name: (tokens[name], last[name]) for name in last}


def fail_on_poison(core, failure):
    """Make the model's forward call `failure(hidden, rows)` when a step holds the poisoned token."""
    forward = core.runner.model.module.forward

    def poisoned(batch):
        hidden = forward(batch)
        rows = (batch.input_ids == POISON).nonzero()[:, 0]
        return failure(hidden, rows) if len(rows) else hidden

    core.runner.model.module.forward = poisoned


def test_a_request_that_makes_a_step_raise_ends_alone_and_the_others_go_on(core, directory):
    core.add(request("good", [1, 2, 3]))
    wanted = run(core)["good"][0]

    def failure(hidden, rows):
        raise RuntimeError("kernel exploded")

    fail_on_poison(core, failure)
    for name, prompt in (("a", [1, 2, 3]), ("bad", [POISON, 4]), ("b", [1, 2, 3])):
        core.add(request(name, prompt))
    results = run(core)

    assert results["a"][0] == results["b"][0] == wanted
    assert results["bad"][1].finish_reason == "error"
    assert results["bad"][1].error == "RuntimeError: kernel exploded"
    assert core.stats.kv_cache_usage == 0


def test_nan_in_one_request_reaches_no_other_even_through_reused_blocks(directory):
    core = make_core(directory, kv_cache_memory_bytes=8 * 16 * 256, max_num_seqs=2)

    def failure(hidden, rows):
        for block in core.runner.model.module.blocks:                 # what a model that overflows leaves behind
            block.mixer.paged.k_cache[:] = torch.nan
            block.mixer.paged.v_cache[:] = torch.nan
        return hidden * torch.nan

    core.add(request("before", [5] * 20, max_tokens=30))
    wanted = run(core)["before"][0]
    fail_on_poison(core, failure)
    core.add(request("bad", [POISON] * 40))
    assert "not numbers" in run(core)["bad"][1].error
    core.reset_prefix_cache()
    core.add(request("after", [5] * 20, max_tokens=30))

    assert run(core)["after"][0] == wanted


def test_a_failed_requests_blocks_are_never_found_as_a_prefix(core):
    def failure(hidden, rows):
        raise RuntimeError("kernel exploded")

    fail_on_poison(core, failure)
    core.add(request("bad", [POISON] * 40))
    run(core)
    del core.runner.model.module.forward                              # whole again
    core.add(request("same", [POISON] * 40))

    assert run(core)["same"][1].num_cached_tokens == 0


def test_a_request_that_forbids_every_token_stops_there_and_nothing_has_failed(core, caplog):
    core.add(request("good", [1, 2, 3]))
    dead_end = request("dead end", [1, 2, 3], allowed_token_ids=[7, 8], max_tokens=20)
    dead_end.bad_words_token_ids = [[7, 7], [7, 8], [8, 7], [8, 8]]      # a first token can be had, a second cannot

    core.add(dead_end)
    results = run(core)

    tokens, last = results["dead end"]
    assert len(tokens) == 1 and tokens[0] in (7, 8)
    assert (last.finish_reason, last.error) == ("stop", None)
    assert last.stop_reason.startswith("no token is allowed: ")
    assert results["good"][1].finish_reason == "length"
    assert core.stats.kv_cache_usage == 0
    assert not caplog.records


def test_abort_gives_the_blocks_back_within_the_call(core):
    core.add(request("long", [1] * 50, max_tokens=60))
    core.step()
    assert core.stats.kv_cache_usage > 0

    core.abort(["long", "unknown"])

    assert core.stats.kv_cache_usage == 0
    assert not core.has_unfinished


def test_a_request_that_can_never_fit_is_refused_at_the_door(core):
    with pytest.raises(RequestError, match="128"):
        core.add(request("huge", [1] * 128))
    assert not core.has_unfinished


def test_the_queue_limit_refuses_more(directory):
    core = make_core(directory, max_num_queued_reqs=1)
    core.add(request("a", [1]))

    with pytest.raises(QueueFullError):
        core.add(request("b", [1]))


def test_counters_count_tokens_once(core):
    core.add(request("a", list(range(40)), max_tokens=5))
    run(core)
    core.add(request("b", list(range(40)), max_tokens=3))
    run(core)

    assert core.stats.prompt_tokens == 80
    assert core.stats.generation_tokens == 8
    assert core.stats.prefix_cache_hits == 32
    assert core.stats.prefix_cache_bytes == core.info.kv_cache_bytes // core.info.num_blocks[0] * 2
    assert core.stats.num_running == core.stats.num_waiting == 0


def test_a_resumed_request_goes_on_as_if_it_had_never_stopped(core):
    core.add(request("whole", [3, 1, 4], max_tokens=12, temperature=1.0, seed=9))
    whole = run(core)["whole"][0]
    resumed = request("rest", [3, 1, 4], max_tokens=12, temperature=1.0, seed=9)
    resumed.output_token_ids = whole[:5]

    core.add(resumed)

    assert run(core)["rest"][0] == whole[5:]


def test_prompt_logprobs_cover_every_position_in_chunks_and_after_preemption(directory):
    whole = make_core(directory)
    whole.add(request("a", list(range(50)), prompt_logprobs=1))
    pieces = []
    while whole.has_unfinished:
        for output in whole.step().outputs:
            pieces += output.prompt_logprobs or []
    chunked, again = make_core(directory, max_num_batched_tokens=7, max_num_seqs=2), []
    chunked.add(request("a", list(range(50)), prompt_logprobs=1))
    while chunked.has_unfinished:
        for output in chunked.step().outputs:
            again += output.prompt_logprobs or []

    assert [entry.token_ids[0] for entry in pieces] == list(range(1, 50))
    assert [entry.token_ids for entry in again] == [entry.token_ids for entry in pieces]
    for one, two in zip(pieces, again, strict=True):
        assert one.logprobs == pytest.approx(two.logprobs, abs=1e-4)


def test_the_worker_answers_to_public_names_only(core):
    assert core.collective_rpc("list_kernels")[0].keys() >= {"attention", "linear", "norm", "qk"}
    with pytest.raises(AttributeError, match="no method '_sample'"):
        core.collective_rpc("_sample")
    assert core.apply_model(lambda model: sum(p.numel() for p in model.parameters())) == [259 * 32 + 2 * 7744 + 32]
