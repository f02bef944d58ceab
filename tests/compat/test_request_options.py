"""Fields of parameters and bodies written for vLLM: what is accepted, translated, told or refused."""

from __future__ import annotations

import logging

import msgspec
import pytest

from weft.compat.vllm.options.accept import tell
from weft.compat.vllm.options.anthropic import MESSAGES
from weft.compat.vllm.options.pooling import POOLING
from weft.compat.vllm.options.pooling_requests import CLASSIFY, COHERE, EMBEDDING, POOLING_BODY, RERANK, SCORE
from weft.compat.vllm.options.requests import GENERATING
from weft.compat.vllm.options.responses import RESPONSES
from weft.compat.vllm.options.row import NO_EFFECT, REFUSED, SAME, STATES, TRANSLATED
from weft.compat.vllm.options.sampling import BEAM, SAMPLING
from weft.compat.vllm.options.structures import STRUCTURES
from weft.errors import ConfigError, NotBuiltError
from weft.pooling_params import PoolingParams
from weft.sampling_extras import SamplingExtras
from weft.sampling_params import BeamSearchParams, SamplingParams
from weft.server.anthropic.schemas import MessagesBody
from weft.server.openai.responses.schemas import ResponsesBody
from weft.server.openai.schemas import SAMPLING as SAMPLING_FIELDS
from weft.server.openai.schemas import ChatBody, CompletionBody, parse
from weft.server.pooling.schemas import ClassifyBody, CohereBody, EmbeddingBody, PoolingBody, RerankBody, ScoreBody
from weft.structured_outputs import StructuredOutputsParams

TABLES = {"sampling": SAMPLING, "beam": BEAM, "pooling": POOLING, "request": GENERATING, "embedding": EMBEDDING,
          "structures": STRUCTURES, "messages": MESSAGES, "responses": RESPONSES, "pooling body": POOLING_BODY,
          "classify": CLASSIFY, "score": SCORE, "rerank": RERANK, "cohere": COHERE}
ROWS = [pytest.param(option, id=f"{title}-{option.name}") for title, rows in TABLES.items() for option in rows.values()]


def beams(**options: object) -> BeamSearchParams:
    return BeamSearchParams(beam_width=2, max_tokens=3, **options)


def form(**options: object) -> StructuredOutputsParams:
    return StructuredOutputsParams(regex="a", **options)


CLASSES = [(SamplingParams, SamplingParams, SAMPLING), (beams, BeamSearchParams, BEAM),
           (PoolingParams, PoolingParams, POOLING), (form, StructuredOutputsParams, STRUCTURES)]
REFUSED_FIELDS = [(make, option) for make, _, rows in CLASSES for option in rows.values() if option.state == REFUSED]
IDLE_FIELDS = [(make, option) for make, _, rows in CLASSES for option in rows.values() if option.state == NO_EFFECT]


@pytest.fixture(autouse=True)
def nothing_told_yet():
    tell.cache_clear()


def odd_value(option) -> object:
    return True if any(off is False for off in option.off) else "something else"


@pytest.mark.parametrize("option", ROWS)
def test_a_row_has_a_state_and_says_what_it_must(option):
    assert option.state in STATES
    assert option.say or option.state == SAME
    assert (option.read is not None) == (option.state == TRANSLATED)
    assert not option.say.endswith(".") or option.state == REFUSED


@pytest.mark.parametrize(("params", "rows"), [pytest.param(p, rows, id=p.__name__) for _, p, rows in CLASSES])
def test_the_same_fields_are_those_of_the_struct(params, rows):
    assert {name for name, option in rows.items() if option.state == SAME} == (
        set(params.__struct_fields__) & rows.keys())


def test_the_same_fields_of_bodies_are_those_that_the_server_reads():
    read = SAMPLING_FIELDS | ChatBody.model_fields.keys() | CompletionBody.model_fields.keys()

    # Fields that vLLM does not have.
    own = ({"timeout", "keep_alive", "forced_bos_token"} | set(SamplingExtras.__struct_fields__)) - GENERATING.keys()

    assert {name for name, option in GENERATING.items() if option.state == SAME} == read - {"prompt_embeds"} - own


@pytest.mark.parametrize("schema", [MessagesBody, ResponsesBody, EmbeddingBody, PoolingBody, ClassifyBody,
                                    ScoreBody, RerankBody, CohereBody])
def test_the_same_fields_of_other_bodies_are_those_that_the_server_reads(schema):
    same = {name for name, option in schema.options.items() if option.state == SAME}

    own = {"timeout", "keep_alive"} - schema.options.keys()      # which vLLM does not have

    assert set(schema.model_fields) - own <= same <= set(schema.model_fields) | schema.sampling_fields


@pytest.mark.parametrize(("make", "option"), REFUSED_FIELDS, ids=lambda x: getattr(x, "name", ""))
def test_a_field_without_code_takes_only_values_that_mean_off(make, option):
    for value in (None, *option.off):
        make(**{option.name: value})

    with pytest.raises(NotBuiltError) as caught:
        make(**{option.name: odd_value(option)})

    assert str(caught.value).startswith(f"{option.name} = ")
    assert option.say in str(caught.value)


@pytest.mark.parametrize(("make", "option"), IDLE_FIELDS, ids=lambda x: getattr(x, "name", ""))
def test_a_field_without_effect_is_accepted_and_told_once(make, option, caplog):
    with caplog.at_level(logging.WARNING, "weft"):
        for value in (None, *option.off):
            assert make(**{option.name: value}) == make()
        assert caplog.messages == []
        for _ in range(2):
            assert make(**{option.name: "something else"}) == make()

    assert caplog.messages == [f"{option.name} has no effect: {option.say}"]


def test_best_of_may_repeat_n():
    assert SamplingParams(n=3, best_of=3) == SamplingParams(n=3)


@pytest.mark.parametrize(("name", "value"), [("length_penalty", 0.5), ("early_stopping", True)])
def test_fields_of_beam_search_are_told_to_have_no_effect_without_it(name, value, caplog):
    with caplog.at_level(logging.WARNING, "weft"):
        assert SamplingParams(**{name: value}) == SamplingParams()

    assert caplog.messages == [f"{name} has no effect: it belongs to beam search"]


@pytest.mark.parametrize("name", ["normalize", "softmax", "activation"])
def test_older_names_of_use_activation(name):
    assert PoolingParams(**{name: False}).use_activation is False
    with pytest.raises(ConfigError, match=rf"{name} = True.*use_activation = False"):
        PoolingParams(**{name: True, "use_activation": False})


def test_an_unknown_field_is_named_with_the_nearest_ones():
    with pytest.raises(TypeError, match=r"unknown option 'temprature'; did you mean 'temperature'"):
        SamplingParams(temprature=1)
    with pytest.raises(TypeError, match=r"'beam_wdith'; did you mean 'beam_width'"):
        BeamSearchParams(beam_wdith=2, max_tokens=3)


def test_what_was_accepted_is_not_sent_to_the_engine():
    sent = msgspec.to_builtins(SamplingParams(seed=4, best_of=1, early_stopping=True))

    assert sent.keys() == {"type", "seed"} | msgspec.to_builtins(SamplingParams()).keys()


@pytest.mark.parametrize("option", [pytest.param(o, id=o.name) for o in GENERATING.values() if o.state != SAME])
def test_a_known_field_of_a_body_is_never_called_unknown(option):
    values = [None, *option.off] + (["anything"] if option.state == NO_EFFECT else [])

    for value in values:
        assert parse(CompletionBody, {"prompt": "a", option.name: value}).ignored == ()


@pytest.mark.parametrize(("field", "value"), [
    ("logits_processors", ["a"]), ("return_token_offsets", True),
])
def test_a_field_of_a_body_that_weft_cannot_honour_is_refused(field, value):
    with pytest.raises(NotBuiltError, match=rf"^{field} = "):
        parse(CompletionBody, {"prompt": "a", field: value})


def test_best_of_of_a_body_is_a_whole_number():
    assert parse(CompletionBody, {"prompt": "a", "n": 2, "best_of": 2.0}).sampling == {"n": 2, "best_of": 2}
