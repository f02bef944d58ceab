"""`best_of` and `use_beam_search` of vLLM's older scripts, against brute force over the embedded model."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM

import weft.embedded
from weft.config.engine_args import EngineArgs
from weft.errors import NotBuiltError, RequestError
from weft.frontend.llm_engine import LLMEngine
from weft.llm import LLM
from weft.sampling_params import RequestOutputKind, SamplingParams

PROMPT = "The cat sat on"


@pytest.fixture(scope="module")
def llm():
    with LLM(dtype="float32", num_threads=1, max_model_len=128, use_tqdm_on_load=False) as llm:
        yield llm


@pytest.fixture(scope="module")
def reference():
    return AutoModelForCausalLM.from_pretrained(weft.embedded.__path__[0], dtype=torch.float32).eval()


def answers(llm, prompt=PROMPT, **params):
    [output] = llm.generate(prompt, SamplingParams(**params), use_tqdm=False)
    return output


def all_of_two_tokens(reference, prompt_token_ids, eos_token_ids, length_penalty):
    """Every answer of up to two tokens as (score, token ids), best first."""
    vocab_size, length = reference.config.vocab_size, len(prompt_token_ids)
    with torch.inference_mode():
        first = reference(torch.tensor([prompt_token_ids])).logits[0, -1].log_softmax(-1)
        prompts = torch.tensor(prompt_token_ids).expand(vocab_size, -1)
        pairs = torch.cat([prompts, torch.arange(vocab_size)[:, None]], dim=1)
        second = torch.cat([reference(rows).logits[:, -1].log_softmax(-1) for rows in pairs.split(256)])
    scores = (first[:, None] + second) / (length + 2) ** length_penalty
    scores[:, eos_token_ids] *= ((length + 2) / (length + 1)) ** length_penalty      # an end is not counted
    scores[eos_token_ids] = -torch.inf
    found = [(first[i].item() / length ** length_penalty, [i]) for i in eos_token_ids]
    best = scores.flatten().topk(16)
    found += [(score, list(divmod(place, vocab_size)))
              for score, place in zip(best.values.tolist(), best.indices.tolist(), strict=True)]
    return sorted(found, reverse=True)


@pytest.mark.parametrize("length_penalty", [0.0, 1.0, -2.0])
@pytest.mark.parametrize("prompt", [PROMPT, "One day", "She said:"])
def test_a_wide_search_finds_the_best_of_all_answers(llm, reference, prompt, length_penalty):
    output = answers(llm, prompt, n=3, best_of=48, use_beam_search=True, temperature=0, max_tokens=2,
                     length_penalty=length_penalty, early_stopping="never")

    prompt_token_ids, eos = output.prompt_token_ids, llm.config.model.eos_token_ids
    wanted = all_of_two_tokens(reference, prompt_token_ids, sorted(eos), length_penalty)[:3]
    assert [answer.token_ids for answer in output.outputs] == [token_ids for _, token_ids in wanted]
    lengths = [len(prompt_token_ids) + len(token_ids) - (token_ids[-1] in eos) for _, token_ids in wanted]
    assert [answer.cumulative_logprob / length ** length_penalty
            for answer, length in zip(output.outputs, lengths, strict=True)] == pytest.approx(
                [score for score, _ in wanted], rel=1e-4)


def test_a_search_of_one_beam_is_greedy_with_its_text(llm):
    greedy = answers(llm, temperature=0, max_tokens=12).outputs[0]
    beam = answers(llm, temperature=0, max_tokens=12, use_beam_search=True).outputs[0]

    assert (beam.token_ids, beam.text, beam.finish_reason) == (greedy.token_ids, greedy.text, greedy.finish_reason)


def test_an_end_of_text_token_is_in_the_tokens_and_not_in_the_text(llm):
    [eos, *_] = llm.config.model.eos_token_ids
    output = answers(llm, {"prompt_token_ids": [eos]}, n=40, use_beam_search=True, temperature=0, max_tokens=30,
                     early_stopping=True)
    ended = [answer for answer in output.outputs if answer.finish_reason == "stop"]

    assert ended
    for answer in ended:
        assert answer.token_ids[-1] in llm.config.model.eos_token_ids
        assert answer.stop_reason is None
        assert answer.text == llm.get_tokenizer().decode(answer.token_ids[:-1])


def test_best_of_returns_the_likeliest_of_the_answers_that_n_would_draw(llm):
    drawn = answers(llm, n=6, temperature=1.0, seed=5, max_tokens=7, logprobs=0).outputs
    ranked = sorted(drawn, key=lambda answer: answer.cumulative_logprob, reverse=True)

    output = answers(llm, n=2, best_of=6, temperature=1.0, seed=5, max_tokens=7)

    assert [answer.index for answer in output.outputs] == [0, 1]
    assert [answer.token_ids for answer in output.outputs] == [answer.token_ids for answer in ranked[:2]]
    assert [answer.cumulative_logprob for answer in output.outputs] == pytest.approx(
        [answer.cumulative_logprob for answer in ranked[:2]])
    assert [answer.logprobs for answer in output.outputs] == [None, None]


def test_best_of_keeps_the_log_probabilities_that_were_asked_for(llm):
    output = answers(llm, n=1, best_of=3, temperature=1.0, seed=5, max_tokens=4, logprobs=2)

    assert [len(position) >= 2 for position in output.outputs[0].logprobs] == [True] * 4


def test_an_engine_that_is_driven_by_hand_mixes_searches_with_other_requests():
    engine = LLMEngine.from_engine_args(EngineArgs(dtype="float32", num_threads=1, max_model_len=128,
                                                   use_tqdm_on_load=False))
    engine.add_request("beams", PROMPT, SamplingParams(n=3, use_beam_search=True, temperature=0, max_tokens=6))
    engine.add_request("best", PROMPT, SamplingParams(n=1, best_of=3, max_tokens=6, ignore_eos=True))
    engine.add_request("greedy", PROMPT, SamplingParams(temperature=0, max_tokens=6, ignore_eos=True))
    engine.add_request("gone", PROMPT, SamplingParams(n=2, use_beam_search=True, temperature=0, max_tokens=90))
    outputs = {}
    while engine.has_unfinished_requests():
        for output in engine.step():
            outputs.setdefault(output.request_id, []).append(output)
        if len(outputs.get("greedy", ())) == 3:
            outputs.setdefault("gone", []).extend(engine.abort_request("gone"))

    assert {name: len(found) for name, found in outputs.items()} == {"beams": 1, "best": 1, "greedy": 6, "gone": 1}
    assert [len(answer.token_ids) for answer in outputs["beams"][0].outputs] == [6] * 3
    assert [answer.finish_reason for answer in outputs["gone"][0].outputs] == ["abort"] * 2
    assert engine.client.stats.num_running == engine.client.stats.num_waiting == 0
    engine.client.close()


def test_a_search_whose_next_beams_find_the_queue_full_ends_with_that_error():
    with LLM(dtype="float32", num_threads=1, max_model_len=128, use_tqdm_on_load=False, max_num_seqs=1,
             max_num_queued_reqs=2) as llm:
        output = answers(llm, n=6, use_beam_search=True, temperature=0, max_tokens=6)
        after = answers(llm, temperature=0, max_tokens=3)

    assert {answer.finish_reason for answer in output.outputs} == {"error"}
    assert "max_num_queued_reqs" in output.error
    assert len(after.outputs[0].token_ids) == 3


@pytest.mark.parametrize(("fields", "error", "name"), [
    ({"best_of": 1, "n": 2}, RequestError, "best_of"), ({"best_of": 2, "temperature": 0}, RequestError, "best_of"),
    ({"use_beam_search": "yes"}, RequestError, "use_beam_search"),
    ({"use_beam_search": True, "early_stopping": 1}, RequestError, "early_stopping"),
    ({"use_beam_search": True, "stop": ["a"]}, NotBuiltError, "stop"),
    ({"use_beam_search": True, "logprobs": 1}, NotBuiltError, "logprobs"),
    ({"use_beam_search": True, "top_k": 5}, NotBuiltError, "top_k"),
    ({"use_beam_search": True, "presence_penalty": 0.5}, NotBuiltError, "presence_penalty"),
    ({"use_beam_search": True, "output_kind": RequestOutputKind.DELTA}, RequestError, "output_kind"),
    ({"best_of": 2, "output_kind": RequestOutputKind.DELTA}, RequestError, "output_kind"),
])
def test_what_a_choice_of_the_best_cannot_have_is_named(fields, error, name):
    with pytest.raises(error, match=rf"^{name}(\[0\])? = "):
        SamplingParams(**fields)


def test_a_search_refuses_embeddings(llm):
    with pytest.raises(RequestError, match="prompt_embeds"):
        answers(llm, {"prompt_embeds": torch.zeros(2, 192)}, use_beam_search=True, temperature=0)
