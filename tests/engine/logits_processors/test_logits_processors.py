"""Logits processors change what is drawn for their requests, in any batch; a failing one ends its own request."""

from __future__ import annotations

import asyncio
import sys

import pytest
import torch
from tiny_llama import make_checkpoint

from weft import LLM, AsyncLLM, EngineArgs, SamplingParams
from weft.engine.logits_processors.find import find_processors
from weft.engine.logits_processors.interface import (
    AdapterLogitsProcessor,
    BatchUpdate,
    LogitsProcessor,
    MoveDirectionality,
    process_dict_updates,
)
from weft.errors import ConfigError, NotBuiltError, RequestError

PROMPTS = [{"prompt_token_ids": [1 + i, 7, 9 + 2 * i, 5, 30 + i] * (1 + i)} for i in range(5)]


class Only(LogitsProcessor):
    """A request with extra_args["only"] gets that token, and nothing else. Written as vLLM's V1 interface asks."""

    def __init__(self, vllm_config, device, is_pin_memory):
        self.tokens = {}
        self.hidden_size = vllm_config.model_config.hf_config.hidden_size

    @classmethod
    def validate_params(cls, sampling_params):
        only = (sampling_params.extra_args or {}).get("only")
        if only is not None and not isinstance(only, int):
            raise ValueError("only is a token id")

    def is_argmax_invariant(self):
        return False

    def update_state(self, batch_update):
        if batch_update is None:
            return
        for index in batch_update.removed:
            self.tokens.pop(index, None)
        for index, params, _, _ in batch_update.added:
            self.tokens.pop(index, None)
            if (params.extra_args or {}).get("only") is not None:
                self.tokens[index] = params.extra_args["only"]
        for first, second, direction in batch_update.moved:
            moved, other = self.tokens.pop(first, None), self.tokens.pop(second, None)
            if moved is not None:
                self.tokens[second] = moved
            if other is not None and direction == MoveDirectionality.SWAP:
                self.tokens[first] = other

    def apply(self, logits):
        for index, token in self.tokens.items():
            if token == 66:
                raise RuntimeError("66 is not wanted")
            if token == 67:
                sys.exit("67 ends")
            kept = logits[index, token].clone()
            logits[index] = -torch.inf
            logits[index, token] = kept
        return logits


class Count(AdapterLogitsProcessor):
    """Token 100 + the number of output tokens, for requests with extra_args["count"]; token 3 of the output fails."""

    def new_req_logits_processor(self, params):
        wanted = (params.extra_args or {}).get("count")
        if wanted == "never":
            raise ValueError("never counts")
        if wanted == "exit":
            return lambda output_token_ids, logits: sys.exit(3)
        return None if wanted is None else self.count if wanted == "on" else self.count_badly

    def count(self, output_token_ids, logits):
        logits[100 + len(output_token_ids)] = 1e6
        return logits

    def count_badly(self, prompt_token_ids, output_token_ids, logits):
        if len(output_token_ids) == 3:
            raise RuntimeError(f"after {len(prompt_token_ids)} tokens of the prompt")
        return self.count(output_token_ids, logits)


class Sharper(LogitsProcessor):
    """Keeps the two likeliest tokens of random rows."""

    def __init__(self, vllm_config, device, is_pin_memory):
        self.seen = 0

    def is_argmax_invariant(self):
        return True

    def update_state(self, batch_update):
        pass

    def apply(self, logits):
        second = logits.topk(2).values[:, 1:]
        return logits.masked_fill(logits < second, -torch.inf)


def greedy(**options):
    return SamplingParams(**{"temperature": 0, "max_tokens": 6, "ignore_eos": True} | options)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return make_checkpoint(tmp_path_factory.mktemp("model"))


def engine(directory, *processors, **options):
    return LLM(str(directory), **{"dtype": "float32", "max_model_len": 128, "use_tqdm_on_load": False,
                                  "num_threads": 1, "logits_processors": list(processors)} | options)


def tokens(llm, params, prompts=PROMPTS):
    return [[answer.token_ids for answer in output.outputs] if len(output.outputs) > 1 else output.outputs[0].token_ids
            for output in llm.generate(prompts, params, use_tqdm=False)]


@pytest.fixture(scope="module")
def plain(directory):
    with engine(directory) as llm:
        return tokens(llm, greedy())


PARAMS = [greedy(), greedy(extra_args={"only": 7}), greedy(max_tokens=2), greedy(extra_args={"count": "on"}),
          greedy(extra_args={"only": 9}, max_tokens=3)]


@pytest.mark.parametrize("options", [
    {}, {"max_num_batched_tokens": 7, "max_num_seqs": 3}, {"kv_cache_memory_bytes": 9 * 16 * 256},
    {"max_num_seqs": 1}, {"cpu_isa": "reference"},
], ids=["in company", "chunked", "preempted", "alone", "reference"])
def test_each_request_meets_its_own_processors_in_any_batch(directory, plain, options):
    with engine(directory, Only, f"{__name__}:Count", **options) as llm:
        found = tokens(llm, PARAMS)

    assert found == [plain[0], [7] * 6, plain[2][:2], [100, 101, 102, 103, 104, 105], [9] * 3]


def test_answers_of_one_request_have_a_row_each(directory):
    with engine(directory, Count) as llm:
        found = tokens(llm, SamplingParams(n=3, temperature=1, seed=5, max_tokens=4, ignore_eos=True,
                                           extra_args={"count": "on"}), PROMPTS[:2])

    assert found == [[[100, 101, 102, 103]] * 3] * 2


def test_processors_that_leave_the_likeliest_token_alone_narrow_random_draws(directory, plain):
    params = SamplingParams(temperature=2.0, seed=1, max_tokens=20, ignore_eos=True, logprobs=2)
    with engine(directory, Sharper) as llm:
        outputs = llm.generate(PROMPTS, params, use_tqdm=False)
        assert tokens(llm, greedy()) == plain

    best = [step[token].rank <= 2 for output in outputs for token, step in
            zip(output.outputs[0].token_ids, output.outputs[0].logprobs, strict=True)]
    assert len(best) == 100 and all(best)


def test_reported_logprobs_are_those_before_the_processors_unless_processed(directory):
    params = greedy(extra_args={"only": 7}, logprobs=1, max_tokens=1)
    with engine(directory, Only) as llm:
        raw = llm.generate(PROMPTS[:1], params, use_tqdm=False)[0].outputs[0].logprobs[0][7].logprob
    with engine(directory, Only, logprobs_mode="processed_logprobs") as llm:
        processed = llm.generate(PROMPTS[:1], params, use_tqdm=False)[0].outputs[0].logprobs[0][7].logprob

    assert raw < -0.01 and processed == 0


@pytest.mark.parametrize(("processor", "args", "said"), [
    (Count, {"count": "badly"}, "RuntimeError: after 5 tokens of the prompt"),
    (Count, {"count": "never"}, "ValueError: never counts"),
    (Only, {"only": 66}, "RuntimeError: 66 is not wanted"),
    (Count, {"count": "exit"}, "SystemExit: 3"),
    (Only, {"only": 67}, "Only raised SystemExit: 67 ends"),
], ids=["a request's function", "its making", "the whole batch", "a function that exits", "a batch that exits"])
def test_a_processor_that_raises_ends_its_own_request_only(directory, plain, processor, args, said):
    with engine(directory, processor) as llm:
        outputs = llm.generate(PROMPTS, [greedy(extra_args=args), *[greedy()] * 4], use_tqdm=False)

    assert outputs[0].outputs[0].finish_reason == "error"
    assert said in str(outputs[0].outputs[0].stop_reason or outputs[0])
    assert [output.outputs[0].token_ids for output in outputs[1:]] == plain[1:]


def test_parameters_that_a_processor_refuses_are_a_request_error(directory):
    with engine(directory, Only) as llm, pytest.raises(RequestError, match=r"extra_args = .*Only takes.*a token id"):
        llm.generate(PROMPTS[:1], greedy(extra_args={"only": "seven"}), use_tqdm=False)


def test_functions_of_a_request_see_its_tokens_with_speculation_too(directory, plain):
    seen = []

    def last_of_prompt(prompt_token_ids, output_token_ids, logits):
        seen.append((tuple(prompt_token_ids), len(output_token_ids)))
        return torch.where(torch.arange(len(logits)) == prompt_token_ids[-1], 1.0, -torch.inf)

    def first_is_12(output_token_ids, logits):
        if not output_token_ids:
            logits[12] = torch.inf if logits[12] > -torch.inf else 1e9
        return logits

    params = [greedy(logits_processors=[last_of_prompt]), greedy()]
    with engine(directory) as llm:
        assert tokens(llm, params, PROMPTS[:2]) == [[30] * 6, plain[1]]
    assert seen == [((1, 7, 9, 5, 30), count) for count in range(6)]
    with engine(directory, speculative_config={"method": "ngram", "num_speculative_tokens": 2}) as llm:
        assert tokens(llm, params, PROMPTS[:2]) == [[30] * 6, plain[1]]


@pytest.mark.parametrize(("function", "said"), [
    (lambda output, logits: logits[:5], "returned"), (lambda output, logits: 1 / 0, "ZeroDivisionError"),
    (lambda logits: logits, "takes 1 arguments"), (lambda output, logits: sys.exit(3), "SystemExit: 3"),
])
def test_a_function_that_fails_ends_its_request(directory, plain, function, said):
    with engine(directory) as llm:
        outputs = llm.generate(PROMPTS[:2], [greedy(logits_processors=[function]), greedy()], use_tqdm=False)

    assert outputs[0].outputs[0].finish_reason == "error" and said in outputs[0].error
    assert outputs[1].outputs[0].token_ids == plain[1]


def test_in_a_process_of_its_own_classes_are_named_and_functions_refused(directory, tmp_path):
    (tmp_path / "mine.py").write_text("from vllm.v1.sample.logits_processor import AdapterLogitsProcessor\n\n\n"
                                      "class Seven(AdapterLogitsProcessor):\n"
                                      "    def new_req_logits_processor(self, params):\n"
                                      "        wanted = (params.extra_args or {}).get('token')\n"
                                      "        return wanted and (lambda ids, x: self.only(x, wanted))\n\n"
                                      "    def only(self, x, token):\n"
                                      "        x[token] = 1e9\n"
                                      "        return x\n")

    async def answers():
        llm = AsyncLLM.from_engine_args(EngineArgs(str(directory), dtype="float32", max_model_len=128, num_threads=1,
                                                   use_tqdm_on_load=False,
                                                   logits_processors=[f"{tmp_path / 'mine.py'}:Seven"]))
        try:
            with pytest.raises(RequestError, match=r"logits_processors.*None where the engine runs in a process"):
                async for _ in llm.generate(PROMPTS[0], greedy(logits_processors=[lambda ids, x: x]), "a"):
                    pass
            with pytest.raises(RequestError, match=r"extra_args.*plain data"):
                async for _ in llm.generate(PROMPTS[0], greedy(extra_args={"x": object()}), "b"):
                    pass
            return [o async for o in llm.generate(PROMPTS[0], greedy(extra_args={"token": 11}), "c")][-1].outputs[0]
        finally:
            llm.shutdown()

    assert asyncio.run(answers()).token_ids == [11] * 6


def test_what_is_no_logits_processor_is_refused(directory):
    with pytest.raises(ConfigError, match=r"logits_processors = 'int': expected a class with the methods apply"):
        find_processors([int])
    with pytest.raises(ConfigError, match="Functions belong to single requests"):
        find_processors([lambda ids, logits: logits])
    with pytest.raises(ConfigError, match="no_such_module"):
        find_processors(["no_such_module:Class"])
    with pytest.raises(ConfigError, match=r"logits_processors = \['Only'\]: expected none with speculative_config"):
        engine(directory, Only, speculative_config={"method": "ngram", "num_speculative_tokens": 2})


def test_a_class_that_cannot_be_made_is_told_at_start(directory):
    class Broken(Only):
        def __init__(self, vllm_config, device, is_pin_memory):
            raise KeyError("no table")

    with pytest.raises(ConfigError, match=r"logits_processors = 'Broken'.*KeyError: 'no table'"):
        engine(directory, Broken)


def test_a_class_that_cannot_say_whether_it_is_invariant_is_told_at_start(directory):
    class Broken(Only):
        def is_argmax_invariant(self):
            raise KeyError("no answer")

    with pytest.raises(ConfigError, match=r"logits_processors = 'Broken'.*is_argmax_invariant.*KeyError"):
        engine(directory, Broken)


@pytest.mark.parametrize("wrong", [{"logits_processors": [1]}, {"extra_args": [1]}])
def test_parameters_of_a_wrong_kind_are_refused(wrong):
    with pytest.raises((RequestError, NotBuiltError), match=next(iter(wrong))):
        SamplingParams(**wrong)


def test_a_dict_of_states_follows_the_batch():
    states, swap, move = {}, MoveDirectionality.SWAP, MoveDirectionality.UNIDIRECTIONAL

    def follow(removed=(), added=(), moved=()):
        added = [(index, SamplingParams(extra_args={"state": state}), [1], []) for index, state in added]
        return process_dict_updates(states, BatchUpdate(4, removed, added, moved), lambda params, prompt, output: (
            params.extra_args["state"]))

    assert not process_dict_updates(states, None, lambda *_: "never")
    assert follow(added=[(0, "a"), (1, None), (2, "c")])
    assert states == {0: "a", 2: "c"}
    assert not follow(removed=[1], added=[(3, None)])
    assert follow(removed=[0], moved=[(2, 0, move)])
    assert states == {0: "c"}
    assert follow(added=[(1, "b")], moved=[(0, 1, swap)])
    assert states == {0: "b", 1: "c"}
    assert follow(added=[(0, None)])                # another request at the place of one that had a state
    assert states == {1: "c"}
