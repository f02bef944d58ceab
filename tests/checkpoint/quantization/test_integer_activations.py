"""compressed-tensors with activations in 8 bits: computed so where weft can, and where not the log says it."""

import logging
from functools import partial

import pytest
import torch
from coded_activations import continued
from isa_levels import native_levels
from quantized_llama import make_pair, opened
from quantizers import compressed_int8, compressed_packed
from test_formats import DYNAMIC, FORMATS, compressed, logprobs

from weft import LLM, SamplingParams

PROMPT = [3, 1, 4, 1, 5, 9, 2, 6]
ISAS = ["reference", *(level for level in native_levels() if level != "amx_emulated")]
SAME = {
    "w8a8": FORMATS["compressed-tensors w8a8"],
    "w8a8, one scale": (compressed("int-quantized", strategy="tensor", activations=DYNAMIC),
                        partial(compressed_int8, per_tensor=True)),
    "packed": (compressed("pack-quantized", strategy="channel", activations=DYNAMIC),
               partial(compressed_packed, bits=8, group_size=-1)),
}
OTHER = {
    "static": (compressed("int-quantized", strategy="channel",
                          activations=DYNAMIC | {"dynamic": False, "strategy": "tensor"}), compressed_int8),
    "asymmetric activations": (compressed("int-quantized", strategy="channel",
                                          activations=DYNAMIC | {"symmetric": False}), compressed_int8),
    "asymmetric weights": (compressed("int-quantized", strategy="channel", symmetric=False, activations=DYNAMIC),
                           partial(compressed_int8, symmetric=False)),
    "groups of 4 bits": (compressed("pack-quantized", num_bits=4, strategy="group", group_size=16,
                                    activations=DYNAMIC), compressed_packed),
}


def answer(directory, isa):
    params = SamplingParams(temperature=0, max_tokens=8, logprobs=1, ignore_eos=True)
    with LLM(model=str(directory), skip_tokenizer_init=True, use_tqdm_on_load=False, cpu_isa=isa, num_threads=1) as llm:
        output = llm.generate([{"prompt_token_ids": PROMPT}], params, use_tqdm=False)[0].outputs[0]
    return output.token_ids, output.cumulative_logprob


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("settings", "quantize"), SAME.values(), ids=SAME)
def test_activations_of_8_bits_by_token_are_computed_with(tmp_path, settings, quantize, isa, caplog):
    pair = make_pair(tmp_path, settings, quantize)

    tokens, total = answer(pair.quantized, isa)

    expected, expected_total = continued(pair.plain, PROMPT, 8)
    assert tokens == expected
    assert total == pytest.approx(expected_total, abs=2e-3)                # a code may be rounded to its neighbour
    assert total != pytest.approx(answer(pair.plain, isa)[1], abs=1e-3), "activations were rounded"
    assert "become float32" not in caplog.text and "stay floats" not in caplog.text


def test_the_definition_of_compressed_tensors_has_a_scale_smaller_by_half_a_step_in_127(tmp_path):
    pair = make_pair(tmp_path, *SAME["w8a8"])

    tokens, total = answer(pair.quantized, "reference")

    theirs, their_total = continued(pair.plain, PROMPT, 8, steps=127.5)
    assert tokens == theirs
    assert total == pytest.approx(their_total, abs=0.1)                    # eight tokens, two layers, other codes


@pytest.mark.parametrize(("settings", "quantize"), OTHER.values(), ids=OTHER)
def test_others_stay_floats_and_the_log_says_which(tmp_path, settings, quantize, caplog):
    pair = make_pair(tmp_path, settings, quantize)

    with caplog.at_level(logging.INFO, logger="weft"):
        opened(pair.quantized)

    assert "activations of the group Linear (8-bit int, strategy" in caplog.text
    assert "stay floats" in caplog.text
    assert logprobs(pair.quantized) == logprobs(pair.plain)


def test_a_matrix_that_is_ignored_stays_floats_beside_those_in_integers(tmp_path):
    settings = SAME["w8a8"][0] | {"ignore": ["lm_head", "re:.*k_proj"]}
    which = {"q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    pair = make_pair(tmp_path, settings, compressed_int8, which=lambda name: name.split(".")[-2] in which)

    answers = {isa: answer(pair.quantized, isa) for isa in ISAS}

    assert len({tuple(tokens) for tokens, _ in answers.values()}) == 1
    torch.testing.assert_close([total for _, total in answers.values()], [answers["reference"][1]] * len(ISAS),
                               atol=2e-3, rtol=0)
