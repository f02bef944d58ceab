"""An answer's reasoning ends after so many tokens: what is forced, and that the engine forces it."""

from __future__ import annotations

import pytest
from tiny_llama import make_checkpoint

from weft import LLM, RequestError, SamplingParams
from weft.reasoning_budget import ReasoningBudget

THINK, END_1, END_2 = 7, 8, 9


def forced(budget: ReasoningBudget, *token_ids: int) -> int | None:
    return budget.forced_id(token_ids) if budget.may_force(len(token_ids)) else None


def test_the_end_mark_follows_the_last_token_of_the_budget():
    budget = ReasoningBudget(max_tokens=2, end_token_ids=[END_1, END_2], is_open=True)

    assert [forced(budget, *[1, 2, END_1, END_2, 5][:n]) for n in range(6)] == [None, None, END_1, END_2, None, None]


def test_reasoning_that_ended_before_is_left_alone():
    budget = ReasoningBudget(max_tokens=3, end_token_ids=[END_1, END_2], is_open=True)

    assert [forced(budget, *[1, END_1, END_2, 5, 6][:n]) for n in range(6)] == [None] * 6


def test_an_answer_without_the_start_mark_has_no_reasoning():
    budget = ReasoningBudget(max_tokens=1, start_token_ids=[THINK], end_token_ids=[END_1])

    assert [forced(budget, *[THINK, 1, END_1][:n]) for n in range(4)] == [None, None, END_1, None]
    assert [forced(budget, *[1, 2, 3][:n]) for n in range(4)] == [None] * 4


def test_a_mark_that_a_grammar_put_off_is_forced_later():
    budget = ReasoningBudget(max_tokens=1, end_token_ids=[END_1, END_2], is_open=True)

    assert [forced(budget, *[1, 2, 3, END_1, END_2, 4][:n]) for n in range(7)] == [
        None, END_1, END_1, END_1, END_2, None, None]


def test_a_budget_of_nothing_ends_the_reasoning_at_once():
    budget = ReasoningBudget(max_tokens=0, end_token_ids=[END_1], is_open=True)

    assert forced(budget) == END_1
    assert forced(budget, END_1) is None


@pytest.mark.parametrize("fields", [{"max_tokens": -1, "end_token_ids": [1], "is_open": True},
                                    {"max_tokens": 1, "end_token_ids": [], "is_open": True},
                                    {"max_tokens": 1, "end_token_ids": [1]}])
def test_a_wrong_field_is_named(fields):
    with pytest.raises(RequestError, match=r"reasoning_budget\."):
        ReasoningBudget(**fields)


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    with LLM(model=str(make_checkpoint(tmp_path_factory.mktemp("tiny"))), num_threads=1, max_num_batched_tokens=8,
             use_tqdm_on_load=False) as llm:
        yield llm


def answer(llm, **fields) -> list[int]:
    params = SamplingParams(temperature=1.0, seed=3, max_tokens=12, ignore_eos=True, **fields)
    return llm.generate({"prompt_token_ids": [1, 2, 3]}, params, use_tqdm=False)[0].outputs[0].token_ids


def test_the_engine_forces_the_end_mark_and_goes_on(llm):
    free = answer(llm)

    limited = answer(llm, reasoning_budget=ReasoningBudget(max_tokens=4, end_token_ids=[30, 31], is_open=True))

    assert limited[:4] == free[:4]
    assert limited[4:6] == [30, 31]
    assert len(limited) == 12


def test_token_ids_are_checked_against_the_vocabulary(llm):
    with pytest.raises(RequestError, match="vocabulary"):
        answer(llm, reasoning_budget=ReasoningBudget(max_tokens=4, end_token_ids=[10**6], is_open=True))


@pytest.mark.parametrize(("fields", "field"), [
    ({"end_token_ids": ["a"]}, "end_token_ids"), ({"end_token_ids": "ab"}, "end_token_ids"),
    ({"end_token_ids": [1], "is_open": "yes"}, "is_open"), ({"end_token_ids": [1], "start_token_ids": [-1]}, "start")])
def test_a_wrong_value_names_its_field(fields, field):
    with pytest.raises(RequestError, match=rf"reasoning_budget\.{field}"):
        ReasoningBudget(**{"max_tokens": 4, "is_open": True} | fields)


def test_a_budget_is_a_reasoning_budget():
    with pytest.raises(RequestError, match="a ReasoningBudget"):
        SamplingParams(reasoning_budget={"max_tokens": 4})
