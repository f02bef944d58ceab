"""PoolingParams: vLLM's names; what has no code is refused, and what is wrong names its field."""

from __future__ import annotations

import msgspec
import pytest

from weft import PoolingParams, RequestOutputKind, SamplingParams
from weft.errors import ConfigError, RequestError


def test_without_arguments_all_is_left_to_the_method_and_the_model():
    params = PoolingParams()

    assert (params.task, params.use_activation, params.skip_reading_prefix_cache) == (None, None, None)


@pytest.mark.parametrize("task", ["embed", "token_embed", "classify", "token_classify", "plugin",
                                  "embed&token_classify"])
def test_tasks_are_taken(task):
    assert PoolingParams(task=task).task == task


@pytest.mark.parametrize("task", ["embedd", "", 3])
def test_unknown_tasks_are_a_mistake(task):
    with pytest.raises(RequestError, match=r"task = .*expected embed, classify, token_embed, token_classify, plugin,"):
        PoolingParams(task=task)


@pytest.mark.parametrize(("task", "hint"), [("score", "LLM.score"), ("encode", "token_embed or token_classify"),
                                            ("reward", "task classify")])
def test_tasks_that_vllm_had_once_lead_to_todays(task, hint):
    with pytest.raises(RequestError, match=hint):
        PoolingParams(task=task)


@pytest.mark.parametrize(("field", "value"), [
    ("dimensions", 0), ("dimensions", True), ("step_tag_id", -1), ("returned_token_ids", []),
    ("returned_token_ids", [1.5]), ("extra_kwargs", 3), ("output_kind", RequestOutputKind.DELTA)])
def test_values_that_cannot_be_are_refused(field, value):
    with pytest.raises(RequestError, match=rf"{field} = "):
        PoolingParams(**{field: value})


@pytest.mark.parametrize("field", ["use_activation", "skip_reading_prefix_cache"])
def test_flags_are_flags(field):
    with pytest.raises(RequestError, match=rf"{field} = 1: expected True or False"):
        PoolingParams(**{field: 1})


def test_normalize_is_the_older_name_of_use_activation():
    assert PoolingParams(normalize=False).use_activation is False
    with pytest.raises(ConfigError, match=r"normalize = True.*use_activation = False"):
        PoolingParams(normalize=True, use_activation=False)


def test_assignments_are_seen_when_it_is_cloned():
    params = PoolingParams()
    params.task = "nothing"

    with pytest.raises(RequestError, match=r"task"):
        params.clone()


@pytest.mark.parametrize("params", [PoolingParams(task="embed", use_activation=False), SamplingParams(seed=4)])
def test_the_two_kinds_of_parameters_cross_as_one_union(params):
    data = msgspec.msgpack.encode(params)

    assert msgspec.msgpack.decode(data, type=SamplingParams | PoolingParams) == params
