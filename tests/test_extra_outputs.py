"""`SamplingParams.extra_outputs`: each request gets the rows of its own tokens, however its steps were made."""

import asyncio
from pathlib import Path

import programmed_llama
import pytest
import torch
from tiny_llama import LAYERS, make_checkpoint
from transformers import AutoModelForCausalLM

from weft import LLM, AsyncLLM, CompletionOutput, EngineArgs, RequestOutput, RequestOutputKind, SamplingParams
from weft.engine.process.messages import EngineOutput, EngineRequest, WireTensor
from weft.engine.process.resume import OpenSequence
from weft.errors import RequestError
from weft.frontend.streams import merge_outputs

PROMPTS = [{"prompt_token_ids": [1 + i, 7, 9 + 2 * i, 5, 30 + i] * (1 + 2 * i)} for i in range(4)]
NAMES = ["hidden_states.0", f"hidden_states.{LAYERS}", "hidden_states.last"]
OPTIONS = {"dtype": "float32", "max_model_len": 128, "num_threads": 1, "use_tqdm_on_load": False}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return str(make_checkpoint(tmp_path_factory.mktemp("model")))


@pytest.fixture(scope="module")
def reference(directory):
    return AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def params(**changes):
    given = {"temperature": 0.0, "max_tokens": 9, "ignore_eos": True, "extra_outputs": NAMES}
    return SamplingParams(**given | changes)


def check(output, answer, reference):
    """The rows of a prompt and of one answer are Transformers' states."""
    tokens = [*output.prompt_token_ids, *answer.token_ids]
    with torch.no_grad():
        result = reference.model(torch.tensor([tokens[:-1]]), output_hidden_states=True)
    for name, rows in answer.extra_outputs.items():
        assert output.extra_outputs[name].shape[0] == len(output.prompt_token_ids)
        assert rows.shape[0] == len(answer.token_ids) - 1
        found = torch.cat([output.extra_outputs[name], rows])
        if name == NAMES[1]:                                  # Transformers' are behind the final norm
            found = reference.model.norm(found).detach()
        wanted = result.hidden_states[0] if name == NAMES[0] else result.last_hidden_state
        torch.testing.assert_close(found, wanted[0], rtol=0, atol=2e-3)


@pytest.mark.parametrize("options", [
    {}, {"max_num_batched_tokens": 7, "max_num_seqs": 3}, {"cpu_isa": "reference"}, {"enforce_eager": True},
    {"kv_cache_memory_bytes": 8 * 16 * 256}, {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}},
], ids=["in company", "chunked", "reference", "not recorded", "preempted", "speculative"])
def test_rows_are_those_of_transformers(directory, reference, options):
    with LLM(directory, **OPTIONS | options) as llm:
        outputs = llm.generate(PROMPTS, params(), use_tqdm=False)
        assert ("kv_cache_memory_bytes" in options) == (llm.stats.num_preemptions > 0)

    for output in outputs:
        check(output, output.outputs[0], reference)


def test_answers_of_one_request_have_rows_of_their_own(directory, reference):
    with LLM(directory, **OPTIONS) as llm:
        (output,) = llm.generate(PROMPTS[1], params(n=3, temperature=1.0, seed=1), use_tqdm=False)

    assert len({tuple(answer.token_ids) for answer in output.outputs}) == 3
    for answer in output.outputs:
        check(output, answer, reference)


def test_a_cached_prompt_is_computed_again_and_others_get_nothing(directory, reference):
    with LLM(directory, **OPTIONS) as llm:
        for _ in range(2):
            first, second = llm.generate(PROMPTS[2:], [params(), params(extra_outputs=None)], use_tqdm=False)

    check(first, first.outputs[0], reference)
    assert second.extra_outputs is None
    assert second.outputs[0].extra_outputs is None
    assert second.num_cached_tokens > 0


def test_an_answer_that_a_stop_string_ends(directory, reference):
    with LLM(directory, **OPTIONS) as llm:
        (whole,) = llm.generate(PROMPTS[0], params(), use_tqdm=False)
        text = llm.get_tokenizer().decode(whole.outputs[0].token_ids[3:4])
        (output,) = llm.generate(PROMPTS[0], params(stop=[text]), use_tqdm=False)

    assert len(output.outputs[0].token_ids) <= 4
    check(output, output.outputs[0], reference)


def test_unknown_names_are_refused_with_the_names_that_there_are(directory):
    with LLM(directory, **OPTIONS) as llm, pytest.raises(RequestError) as caught:
        llm.generate(PROMPTS[0], params(extra_outputs=["hidden_states.9"]), use_tqdm=False)

    assert str(caught.value) == (
        "extra_outputs = 'hidden_states.9': expected names that this model has. It has hidden_states.0, "
        "hidden_states.1, hidden_states.2, hidden_states.last.")


@pytest.mark.parametrize("wrong", [{"extra_outputs": "hidden_states.0"}, {"extra_outputs": [3]},
                                   {"skip_reading_prefix_cache": False}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(RequestError):
        params(**wrong)


@pytest.mark.parametrize("kind", [RequestOutputKind.DELTA, RequestOutputKind.CUMULATIVE])
def test_streams_from_a_child_process(directory, reference, kind):
    async def outputs():
        llm = AsyncLLM.from_engine_args(EngineArgs(model=directory, **OPTIONS))
        try:
            return [output async for output in llm.generate(PROMPTS[1], params(output_kind=kind), "1")]
        finally:
            llm.shutdown()

    streamed = asyncio.run(outputs())

    last, answer = streamed[-1], streamed[-1].outputs[0]
    if kind is RequestOutputKind.DELTA:
        last = streamed[0]                                    # the one with the prompt
        answer.token_ids = [token for output in streamed for token in output.outputs[0].token_ids]
        answer.extra_outputs = {name: torch.cat([output.outputs[0].extra_outputs[name] for output in streamed])
                                for name in NAMES}
    check(last, answer, reference)


def test_deltas_that_a_slow_reader_has_not_taken_are_joined():
    def delta(token, rows, prompt):
        answer = CompletionOutput(index=0, token_ids=[token], extra_outputs={"a": torch.full((rows, 2), float(token))})
        return RequestOutput(request_id="1", prompt=None, prompt_token_ids=[1], outputs=[answer], finished=False,
                             extra_outputs=prompt)

    merged = merge_outputs(delta(3, 0, {"a": torch.zeros(1, 2)}), delta(4, 1, None), RequestOutputKind.DELTA)
    merged = merge_outputs(merged, delta(5, 1, None), RequestOutputKind.DELTA)

    assert merged.extra_outputs["a"].shape == (1, 2)
    assert merged.outputs[0].extra_outputs["a"].tolist() == [[4.0, 4.0], [5.0, 5.0]]


def test_rows_that_were_delivered_before_a_restart_are_not_delivered_again():
    request = EngineRequest(request_id="1", prompt_token_ids=[1, 2, 3], params=params(), eos_token_ids=[],
                            arrival_time=0.0)
    sequence = OpenSequence(request)

    def rows(start, end):
        data = bytes(range(start, end))
        return EngineOutput(request_id="1", new_token_ids=[7], extra_outputs={"a": WireTensor("uint8", [end - start],
                                                                                             data)})

    before = sequence.record(rows(0, 4))
    sequence.resumed()
    first, second = sequence.record(rows(0, 3)), sequence.record(rows(3, 6))

    assert before.extra_outputs["a"].data == b"\0\1\2\3"
    assert first.extra_outputs["a"].shape == [0]
    assert second.extra_outputs["a"] == WireTensor("uint8", [2], b"\4\5")


def programmed(path: Path, line: str) -> str:
    """A file with the programmed Llama whose forward publishes something."""
    code = Path(programmed_llama.__file__).read_text()
    code = code.replace("self.logits_processor = Log", 'self.extra_outputs = {"lengths": None}\n'
                        "        self.logits_processor = Log", 1)
    place = "return self.model(input_ids, positions, intermediate_tensors, inputs_embeds)"
    assert place in code
    lines = (place.replace("return", "hidden ="), line, "return hidden")
    path.write_text(code.replace(place, "\n        ".join(lines)))
    return str(path)


@pytest.mark.parametrize("options", [{}, {"max_num_batched_tokens": 7}], ids=["in company", "chunked"])
def test_a_models_own_dictionary(directory, reference, tmp_path, options):
    file = programmed(tmp_path / "mine.py", 'self.extra_outputs["lengths"] = hidden.norm(dim=-1, keepdim=True)')
    names = ["lengths", "hidden_states.last"]

    with LLM(directory, model_file=file, **OPTIONS | options) as llm:
        outputs = llm.generate(PROMPTS, params(extra_outputs=names), use_tqdm=False)
        plain = llm.generate(PROMPTS, params(extra_outputs=None), use_tqdm=False)

    for output, other in zip(outputs, plain, strict=True):
        answer = output.outputs[0]
        assert answer.token_ids == other.outputs[0].token_ids
        for source in (output, answer):
            states = source.extra_outputs["hidden_states.last"]
            torch.testing.assert_close(source.extra_outputs["lengths"], states.norm(dim=-1, keepdim=True))
        answer.extra_outputs.pop("lengths")
        check(output, answer, reference)


@pytest.mark.parametrize(("line", "found"), [("pass", "'nothing'"),
                                             ('self.extra_outputs["lengths"] = hidden.sum(0)', "[32]")])
def test_a_model_that_does_not_publish_what_it_says_ends_the_request_with_a_reason(directory, tmp_path, line, found):
    file = programmed(tmp_path / "mine.py", line)

    with LLM(directory, model_file=file, **OPTIONS) as llm:
        (output,) = llm.generate(PROMPTS[0], params(extra_outputs=["lengths"]), use_tqdm=False)

    assert output.outputs[0].finish_reason == "error"
    assert f"model_class.extra_outputs['lengths'] = {found}: expected a tensor [5, ...]" in output.error
