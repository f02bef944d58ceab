"""A programmed model loads each format as a described one does: its layers take the codes that the file has."""

import pytest
from held_weights import planned_and_held
from programmed_llama import MyLlama
from quantized_llama import config_of, make_pair, opened
from test_formats import FORMATS

from weft import LLM, SamplingParams
from weft.models.build import build_model, layer_context

PROMPTS = [{"prompt_token_ids": [5 + i, 9, 11, 2, 7 + i]} for i in range(3)]


def answers(path, **options):
    with LLM(model=str(path), dtype="float32", max_model_len=64, use_tqdm_on_load=False, num_threads=1,
             **options) as llm:
        params = SamplingParams(temperature=0, max_tokens=6, ignore_eos=True)
        return [output.outputs[0].token_ids for output in llm.generate(PROMPTS, params, use_tqdm=False)]


@pytest.mark.parametrize("name", FORMATS)
def test_tokens_are_the_described_models(tmp_path, name):
    pair = make_pair(tmp_path, *FORMATS[name])

    assert answers(pair.quantized, model_class=MyLlama) == answers(pair.quantized)


@pytest.mark.parametrize("isa", ["auto", "reference"])
@pytest.mark.parametrize("name", FORMATS)
def test_the_plan_has_room_for_what_is_held(tmp_path, name, isa):
    pair = make_pair(tmp_path, *FORMATS[name])

    planned, held = planned_and_held(pair.quantized, model_class=MyLlama, cpu_isa=isa)
    floats, _ = planned_and_held(pair.quantized, model_class=MyLlama, cpu_isa=isa, load_format="dummy")

    # Equal but for padding, which is much of matrices as small as these (test_weight_bytes has larger ones).
    assert 0.98 * held <= planned <= floats


def test_codes_stay_codes_and_the_plan_counts_them(tmp_path):
    pair = make_pair(tmp_path, *FORMATS["gptq 4 bits"])
    config = config_of(pair.quantized, model_class=MyLlama)
    context = layer_context(config)
    if not context.is_native:
        pytest.skip("only native kernels multiply codes; others get floats")
    model = build_model(config, context, opened(pair.quantized))
    floats = sum(layer.held_bytes({}) for layer in model.module.modules() if hasattr(layer, "held_bytes"))
    layer = model.module.model.layers[0].mlp.down_proj
    taken, take = {}, layer.take
    layer.take = lambda part, codes: (taken.update({part: codes.bits}), take(part, codes))

    planned = model.weight_bytes()
    model.load(max_model_len=64, use_tqdm=False)

    assert taken == {"weight": 4}
    assert planned < 0.7 * floats
