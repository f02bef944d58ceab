"""`vllm_xargs` of a body become the parameters' `extra_args`, which logits processors read."""

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
