"""quantization="int8", "int4", "w8a8", "w4a8": a checkpoint of floats, its matrices turned into codes at load."""

import pytest
from coded_activations import continued
from isa_levels import native_levels
from safetensors.torch import load_file, save_file
from tiny_llama import make_checkpoint

from weft import LLM, EngineArgs, SamplingParams
from weft.errors import ConfigError
from weft.ops.quantized import quantize

ISAS = [level for level in ("reference", *native_levels()[-1:]) if level != "amx_emulated"]
# The tiny model's 48 columns of down_proj are no whole blocks of 32: it takes floats.
LAYERS_IN_BLOCKS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "lm_head")
PARAMS = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, logprobs=5)
PROMPTS = [{"prompt_token_ids": list(range(start, start + 20))} for start in (3, 90, 150)]


def answers(directory, **options):
    with LLM(model=str(directory), skip_tokenizer_init=True, use_tqdm_on_load=False, num_threads=1, **options) as llm:
        outputs = llm.generate(PROMPTS, PARAMS, use_tqdm=False)
        plan = llm.collective_rpc("memory_plan")[0]
    return [o.outputs[0].token_ids for o in outputs], [o.outputs[0].cumulative_logprob for o in outputs], plan


@pytest.mark.proves("quantization", None, "LlamaForCausalLM")
@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("method", ["int8", "int4"])
def test_answers_are_those_of_the_checkpoint_whose_matrices_were_rounded_so(method, isa, tmp_path):
    plain = make_checkpoint(tmp_path / "plain")
    rounded = make_checkpoint(tmp_path / "rounded")
    tensors = load_file(plain / "model.safetensors")
    save_file({name: quantize(tensor, method).dequantize() if tensor.dim() == 2 else tensor
               for name, tensor in tensors.items()}, rounded / "model.safetensors")

    tokens, logprobs, _ = answers(plain, quantization=method, cpu_isa=isa)
    expected, expected_logprobs, _ = answers(rounded, cpu_isa=isa)

    assert tokens == expected
    assert logprobs == pytest.approx(expected_logprobs, abs=1e-3)
    assert logprobs != pytest.approx(answers(plain, cpu_isa=isa)[1], abs=1e-6), "something was rounded"


@pytest.mark.parametrize("isa", ISAS)
def test_w8a8_rounds_matrices_and_what_they_are_multiplied_by_but_for_table_and_head(isa, tmp_path):
    plain, rounded = make_checkpoint(tmp_path / "plain"), make_checkpoint(tmp_path / "rounded")
    save_file({name: quantize(tensor, "int8").dequantize() if tensor.dim() == 2 else tensor
               for name, tensor in load_file(plain / "model.safetensors").items()}, rounded / "model.safetensors")

    tokens, logprobs, _ = answers(plain, quantization="w8a8", cpu_isa=isa)

    expected = [continued(rounded, prompt["prompt_token_ids"], 8) for prompt in PROMPTS]
    assert tokens == [tokens for tokens, _ in expected]
    assert logprobs == pytest.approx([total for _, total in expected], abs=2e-3)      # a code may be its neighbour
    assert logprobs != pytest.approx(answers(plain, quantization="int8", cpu_isa=isa)[1], abs=1e-4)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("options", [{"quantization": "w4a8"}, {"quantization": "int4", "activation_dtype": "int8"}])
def test_w4a8_rounds_matrices_and_blocks_of_what_they_are_multiplied_by(isa, options, tmp_path):
    plain, rounded = make_checkpoint(tmp_path / "plain"), make_checkpoint(tmp_path / "rounded")
    save_file({name: quantize(tensor, "int4").dequantize() if tensor.dim() == 2 else tensor
               for name, tensor in load_file(plain / "model.safetensors").items()}, rounded / "model.safetensors")

    tokens, logprobs, _ = answers(plain, cpu_isa=isa, **options)

    expected = [continued(rounded, prompt["prompt_token_ids"], 8, block=32, layers=LAYERS_IN_BLOCKS)
                for prompt in PROMPTS]
    assert tokens == [tokens for tokens, _ in expected]
    assert logprobs == pytest.approx([total for _, total in expected], abs=2e-3)      # a code may be its neighbour
    assert logprobs != pytest.approx(answers(plain, quantization="int4", cpu_isa=isa)[1], abs=1e-4)


def test_activations_of_8_bits_need_weights_that_are_quantized(tmp_path):
    directory = make_checkpoint(tmp_path)

    with pytest.raises(ConfigError, match=r"activation_dtype.*says nowhere that its weights are quantized.*w4a8"):
        answers(directory, activation_dtype="int8")
    with pytest.raises(ConfigError, match="activation_dtype = 'int4': expected one of int8"):
        answers(directory, activation_dtype="int4", quantization="int4")


def test_int8_weights_and_int8_activations_are_w8a8(tmp_path):
    args = EngineArgs(str(make_checkpoint(tmp_path)), quantization="int8", activation_dtype="int8")

    assert (args.quantization, args.activation_dtype) == ("w8a8", "int8")


@pytest.mark.skipif(not native_levels(), reason="no native kernels here")
@pytest.mark.parametrize("method, fraction", [("int8", 0.33), ("int4", 0.25), ("w8a8", 0.55)])   # 32 columns are padded
def test_the_memory_plan_counts_the_codes(method, fraction, tmp_path):
    directory = make_checkpoint(tmp_path)

    floats, codes = answers(directory)[2]["weight_bytes"], answers(directory, quantization=method)[2]["weight_bytes"]

    assert codes < fraction * floats


def test_the_memory_plan_counts_floats_where_torch_computes_with_them(tmp_path):
    directory = make_checkpoint(tmp_path)
    floats = answers(directory, cpu_isa="reference")[2]["weight_bytes"]

    assert answers(directory, quantization="int4", cpu_isa="reference")[2]["weight_bytes"] == floats
