"""Answers of a model with random weights validate against made-up JSON schemas of JSONSchemaBench's kinds.

`--all-schemas` takes 1,000 of them, as before a release; the count of refusals by keyword is printed with -s.
"""

from __future__ import annotations

import json
from collections import Counter

import jsonschema
import pytest
from made_schemas import SchemaMaker
from tiny_llama import make_checkpoint

from weft import LLM, SamplingParams
from weft.errors import RequestError

BATCH = 50
# Not "time": jsonschema refuses the lower-case z that RFC 3339 allows.
FORMATS = jsonschema.FormatChecker(("date", "email", "ipv4", "ipv6", "uuid", "regex"))


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    directory = make_checkpoint(tmp_path_factory.mktemp("model"))
    options = {"max_model_len": 256, "max_num_seqs": BATCH, "num_threads": 1, "use_tqdm_on_load": False}
    with LLM(model=str(directory), **options) as made:
        yield made


def test_an_answer_validates_or_has_reached_max_tokens_or_its_schema_is_refused_by_pointer(llm, request):
    count = 1000 if request.config.getoption("all_schemas") else 150
    made, refused, ends = SchemaMaker(7), Counter(), Counter()
    waiting = []
    for number in range(count):
        schema = made.make()
        params = SamplingParams(temperature=1.0, seed=number, max_tokens=160, structured_outputs={
            "json": schema, "disable_any_whitespace": number % 2 == 0})
        short = SamplingParams(max_tokens=1, structured_outputs=params.structured_outputs)
        try:
            llm.generate("a", short, use_tqdm=False)
        except RequestError as error:
            assert error.field == "structured_outputs.json" and str(error.value).startswith("#"), (schema, str(error))
            refused[str(error.value).rpartition("/")[2] or error.hint] += 1
        else:
            waiting.append((schema, params))
    for start in range(0, len(waiting), BATCH):
        part = waiting[start : start + BATCH]
        outputs = llm.generate(["Once"] * len(part), [params for _, params in part], use_tqdm=False)
        for (schema, _), output in zip(part, outputs, strict=True):
            ends[output.outputs[0].finish_reason] += 1
            if output.outputs[0].finish_reason == "stop":
                check(schema, output.outputs[0].text)
            assert output.outputs[0].finish_reason in ("stop", "length"), (schema, output.outputs[0], output.error)

    print(f"\n{count} schemas: {dict(ends)}; refused {refused.total()}: {dict(refused.most_common())}")
    assert ends["stop"] > count // 3 and refused.total() < count // 4


def check(schema, text):
    validator = jsonschema.validators.validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        validator(schema, format_checker=FORMATS).validate(json.loads(text))
    except (ValueError, jsonschema.ValidationError) as error:
        raise AssertionError(f"{text!r} is no answer to {json.dumps(schema)}: {error}") from error
