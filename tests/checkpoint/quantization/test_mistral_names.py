"""Quantized matrices in files of Mistral's own format: rows of wq and wk are put in order as numbers and as codes."""

import pytest
import torch
from mistral_files import rewrite
from quantized_llama import named, opened
from quantizers import compressed_packed
from test_formats import compressed, logprobs
from transformers import MistralConfig, MistralForCausalLM

from weft.ops.native import unavailable

SETTINGS = compressed("pack-quantized", num_bits=4, strategy="group", group_size=16) | {"ignore": ["output"]}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """(directory with int4 matrices, the same with what they stand for)."""
    path = tmp_path_factory.mktemp("mistral")
    torch.manual_seed(5)
    MistralForCausalLM(MistralConfig(
        vocab_size=64, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, sliding_window=None, initializer_range=0.3)).save_pretrained(path / "hf")
    values = {}

    def quantize(tensors):
        stored = {}
        for name, tensor in tensors.items():
            if tensor.dim() == 1 or not name.startswith("layers."):
                stored[name] = values[name] = tensor
                continue
            parts, values[name] = compressed_packed(tensor)
            stored |= named(name.removesuffix(".weight"), parts)
        return stored

    quantized = rewrite(path / "hf", path / "quantized", change=quantize, quantization=SETTINGS)
    return quantized, rewrite(path / "hf", path / "plain", change=lambda _: values)


def test_matrices_are_found_by_their_own_names_and_computed_with_as_numbers(pair):
    quantized, plain = pair

    assert opened(quantized).has_codes("layers.0.attention.wq.weight")
    assert logprobs(quantized) == logprobs(plain)


def test_kernels_that_compute_with_codes_get_the_rows_in_order(pair):
    if unavailable("cpu", "auto") is not None:
        pytest.skip(unavailable("cpu", "auto"))

    ours, plain = (logprobs(path, cpu_isa="auto") for path in pair)

    assert max(abs(step[token] - other.get(token, step[token]))
               for step, other in zip(ours, plain, strict=True) for token in step) < 0.05
