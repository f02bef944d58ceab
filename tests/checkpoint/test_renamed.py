"""Files with other names, under Hugging Face names: every tensor is the one that the Hugging Face files have."""

import gguf
import pytest
import torch
from gguf_blocks import random_rows
from gguf_models import write_gguf
from machines import made_machine
from mistral_files import rewrite
from safetensors.torch import load_file
from tiny_models import transformers_model, write_checkpoint
from tiny_variants import STATE_VARIANTS, VARIANTS, Tiny

from weft import EngineArgs
from weft.checkpoint.loader import open_weights
from weft.errors import CheckpointError
from weft.models.programmed.hf_names import under_hf_names
from weft.resolve.engine_config import resolve_engine_config

# A variant of each family that has names for GGUF files, with biases, fused rows and experts where it has them.
NAMES = ("llama", "llama-biases-wide-heads", "llama-tied-multi-query", "llama-llama3", "mistral", "mixtral", "qwen2",
         "qwen3", "qwen3-moe", "gemma", "gemma2", "gemma3", "phi", "phi3", "falcon-7b", "falcon-40b", "falcon-11b",
         "bloom", "gpt2", "gpt-neox", "starcoder2-bare", "stablelm", "stablelm-12b", "cohere", "deepseek-v2-lite",
         "deepseek-v3", "glm", "glm4", "granite", "olmo", "olmo2", "arcee", "seed-oss", *STATE_VARIANTS)
MODELS = VARIANTS | STATE_VARIANTS
# The matrices that a GGUF file has in one tensor and Hugging Face files as [in, out], or in several tensors.
WIDE = Tiny("MixtralForCausalLM", {"hidden_size": 256, "intermediate_size": 256, "num_attention_heads": 4,
                                   "num_key_value_heads": 2})


def opened(path):
    config = resolve_engine_config(EngineArgs(model=str(path), skip_tokenizer_init=True, dtype="float32"),
                                   made_machine())
    checkpoint = open_weights(config.model, config.load)
    return under_hf_names(checkpoint, config.model, torch.float32), checkpoint


def check_same(found, expected):
    """found: may lack copies of other tensors (a tied head)."""
    lacking = expected.keys() - found.keys()
    assert found.keys() <= expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-6, atol=1e-6, msg=name)
    for name in lacking:
        assert any(torch.equal(expected[name], tensor) for tensor in found.values()), name


@pytest.mark.parametrize("name", NAMES)
def test_a_gguf_file_has_the_tensors_of_the_safetensors(name, tmp_path):
    model = write_checkpoint(MODELS[name], tmp_path / "hf")
    checkpoint, _ = opened(write_gguf(model, tmp_path / "model.gguf"))

    found = {name: tensor.clone() for name, tensor in checkpoint.read()}

    check_same(found, load_file(tmp_path / "hf" / "model.safetensors"))
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        name: info.shape for name, info in checkpoint.tensors.items()}
    check_same({name: next(iter(checkpoint.read([name])))[1].clone() for name in reversed(checkpoint.tensors)}, found)


@pytest.mark.parametrize("name", ["mistral", "mixtral"])
def test_mistrals_own_format_has_the_tensors_of_the_safetensors(name, tmp_path):
    write_checkpoint(VARIANTS[name], tmp_path / "hf")
    rewrite(tmp_path / "hf", tmp_path / "own")
    checkpoint, _ = opened(tmp_path / "own")

    found = {name: tensor.clone() for name, tensor in checkpoint.read()}

    assert found.keys() == checkpoint.tensors.keys()
    check_same(found, load_file(tmp_path / "hf" / "model.safetensors"))


def test_codes_have_the_rows_of_the_numbers(tmp_path):
    kind = gguf.GGMLQuantizationType.Q4_0

    def blocks(name, tensor):
        if tensor.dim() < 2:
            return tensor.numpy(), None
        raw = random_rows("Q4_0", tensor.shape, seed=len(name)).numpy()
        return raw.reshape(*tensor.shape[:-1], -1), kind

    checkpoint, stored = opened(write_gguf(transformers_model(WIDE), tmp_path / "model.gguf", write=blocks))

    coded = list(filter(checkpoint.has_codes, checkpoint.tensors))

    assert {name for name, info in checkpoint.tensors.items() if len(info.shape) == 2} == set(coded)
    assert sum(checkpoint.tensors[name].stored_bytes for name in coded) == sum(
        info.stored_bytes or 0 for info in stored.tensors.values())
    for name in coded:
        numbers = next(iter(checkpoint.read([name])))[1]
        torch.testing.assert_close(checkpoint.quantized(name).dequantize(), numbers, rtol=1e-5, atol=1e-5, msg=name)
        assert checkpoint.quantized(name).format == checkpoint.code_row(name).format
    assert not torch.equal(numbers, next(iter(checkpoint.read([coded[0]])))[1])


def test_tensors_that_no_hugging_face_file_has_are_one_error(tmp_path):
    def with_more(tensors):
        yield from tensors
        yield "blk.0.attn_gate.weight", torch.ones(4, 4)
        yield "blk.1.attn_gate.weight", torch.ones(4, 4)

    path = write_gguf(transformers_model(VARIANTS["llama"]), tmp_path / "model.gguf", rename=with_more)

    with pytest.raises(CheckpointError, match=r"2 tensors have no name in Hugging Face files of this family.*: "
                       r"blk.0.attn_gate.weight, blk.1.attn_gate.weight. Do config and file belong together"):
        opened(path)


def test_a_shape_that_does_not_fit_its_layout_names_the_stored_tensor(tmp_path):
    def cut(tensors):
        return ((name, tensor[:-1] if name == "blk.1.attn_q.weight" else tensor) for name, tensor in tensors)

    path = write_gguf(transformers_model(VARIANTS["llama"]), tmp_path / "model.gguf", rename=cut)

    with pytest.raises(CheckpointError, match=r"blk.1.attn_q.weight is \[\d+, \d+\]: rows must be pairs"):
        opened(path)
