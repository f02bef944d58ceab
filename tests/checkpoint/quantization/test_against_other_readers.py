"""Where another library reads a format on a CPU, both read the same weights from the same tensors."""

import pytest
import torch
from coded_activations import rounded
from quantized_llama import make_pair, opened
from quantizers import float8
from safetensors.torch import load_file
from test_formats import DYNAMIC, FORMATS, FP8

# Formats of compressed-tensors whose layout its own package can read: name -> the class that does.
PACKED = ("compressed-tensors int4", "compressed-tensors int4 asymmetric",
          "compressed-tensors int8 weights, a scale for each row")
PLAIN = ("compressed-tensors w8a8", "compressed-tensors w8a8 asymmetric", "compressed-tensors fp8",
         "compressed-tensors fp8, a scale for each row", "compressed-tensors fp8, blocks")
NVFP4 = ("compressed-tensors nvfp4",)
STEM = "model.layers.1.mlp.down_proj"


@pytest.mark.parametrize("name", PACKED + PLAIN + NVFP4)
@pytest.mark.filterwarnings("ignore")
def test_the_package_of_compressed_tensors_reads_the_same(tmp_path, name):
    package = pytest.importorskip("compressed_tensors", reason="needs the package compressed-tensors")
    settings, quantize = FORMATS[name]
    pair = make_pair(tmp_path, settings, quantize)
    stored = {key.removeprefix(f"{STEM}."): value
              for key, value in load_file(pair.quantized / "model.safetensors").items() if key.startswith(STEM)}
    scheme = package.quantization.QuantizationScheme(**settings["config_groups"]["group_0"])
    reader = package.compressors.BaseCompressor.get_value_from_registry(settings["format"])

    theirs = reader.decompress(stored, scheme)["weight"]

    ours = dict(opened(pair.quantized).read([f"{STEM}.weight"]))[f"{STEM}.weight"]
    torch.testing.assert_close(ours.to(theirs.dtype), theirs, rtol=1e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore")
def test_transformers_reads_the_same_from_float8_in_blocks(tmp_path):
    pytest.importorskip("accelerate", reason="Transformers needs accelerate for float8")
    from transformers import AutoModelForCausalLM

    def quantize(weight):
        return float8(weight, block=(16, 16), name=".weight_scale_inv")

    pair = make_pair(tmp_path, FP8 | {"weight_block_size": [16, 16], "dequantize": True}, quantize)

    theirs = AutoModelForCausalLM.from_pretrained(pair.quantized, dtype=torch.float32).state_dict()

    for name, weight in opened(pair.quantized).read(pair.values):
        torch.testing.assert_close(weight, theirs[name], rtol=1e-6, atol=1e-7)


@pytest.mark.filterwarnings("ignore")
def test_the_package_of_compressed_tensors_rounds_activations_as_the_tests_of_integers_say_it_does():
    pytest.importorskip("compressed_tensors", reason="needs the package compressed-tensors")
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize
    from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp

    x, args = torch.randn(1, 9, 300, generator=torch.Generator().manual_seed(0)), QuantizationArgs(**DYNAMIC)

    theirs = fake_quantize(x, *compute_dynamic_scales_and_zp(x, args, None), args)

    assert torch.equal(theirs, rounded(x, 127.5))
