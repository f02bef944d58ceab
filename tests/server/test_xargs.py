"""`vllm_xargs` of a body become the parameters' `extra_args`; `extra_outputs` are refused."""

from __future__ import annotations

import pytest

from weft.sampling_params import SamplingParams
from weft.server.errors import ApiError
from weft.server.openai.schemas import ChatBody, CompletionBody, parse

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize(("schema", "body"), [(CompletionBody, {"prompt": "hi"}), (ChatBody, {"messages": MESSAGES})])
def test_extra_arguments_reach_the_parameters(schema, body):
    parsed = parse(schema, body | {"vllm_xargs": {"only": 7}, "weft_xargs": {"count": [1, 2.5]}})

    assert parsed.ignored == ()
    assert SamplingParams(**parsed.sampling).extra_args == {"only": 7, "count": [1, 2.5]}


def test_without_them_there_are_none():
    assert parse(CompletionBody, {"prompt": "hi", "vllm_xargs": {}}).sampling == {}


def test_extra_arguments_that_are_no_object_are_refused():
    with pytest.raises(ApiError, match="vllm_xargs"):
        parse(CompletionBody, {"prompt": "hi", "vllm_xargs": [1]})


@pytest.mark.parametrize(("schema", "body"), [(CompletionBody, {"prompt": "hi"}), (ChatBody, {"messages": MESSAGES})])
def test_extra_outputs_are_refused_because_answers_hold_no_tensors(schema, body):
    with pytest.raises(ApiError, match=r"extra_outputs .*SamplingParams\(extra_outputs=") as caught:
        parse(schema, body | {"extra_outputs": ["hidden_states.last"]})

    assert (caught.value.status, caught.value.param) == (400, "extra_outputs")
    parse(schema, body | {"extra_outputs": None})
