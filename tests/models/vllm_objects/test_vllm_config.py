"""What the constructor of a programmed model is given: the config's class, rotary positions under old and new names."""

import pytest
import torch
from tiny_llama import make_checkpoint

from weft.architectures.spec import LinearScaling, Rope
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.layers.public import get_rope
from weft.models.vllm.vllm_config import vllm_config
from weft.parallel import Ranks
from weft.resolve.engine_config import resolve_engine_config

LINEAR = {"rope_type": "linear", "factor": 2.0}


def view(tmp_path, **changes):
    directory = make_checkpoint(tmp_path, **changes)
    args = EngineArgs(model=str(directory), dtype="float32", max_model_len=64, skip_tokenizer_init=True, seed=7,
                      max_num_seqs=3, max_num_batched_tokens=48)
    return vllm_config(resolve_engine_config(args, Machine.detect()), Ranks())


def test_it_tells_the_engines_sizes_and_the_checkpoints_config_object(tmp_path):
    seen = view(tmp_path)

    assert type(seen.model_config.hf_config).__name__ == "LlamaConfig"
    assert seen.model_config.hf_text_config is seen.model_config.hf_config
    assert (seen.model_config.dtype, seen.model_config.max_model_len, seen.model_config.seed) == (torch.float32, 64, 7)
    assert (seen.cache_config.block_size, seen.cache_config.cache_dtype) == (16, "float32")
    assert (seen.scheduler_config.max_num_seqs, seen.scheduler_config.max_num_batched_tokens) == (3, 48)
    assert seen.parallel_config.tensor_parallel_size == 1
    assert seen.quant_config is None and seen.lora_config is None


@pytest.mark.parametrize("changes", [
    {"rope_theta": 500.0, "rope_scaling": LINEAR, "partial_rotary_factor": 0.5},
    {"rope_parameters": {"rope_theta": 500.0, "partial_rotary_factor": 0.5, **LINEAR}, "rope_theta": None},
], ids=["old names", "new names"])
def test_old_and_new_names_give_the_same_rotary_positions(changes, tmp_path):
    config = view(tmp_path, **changes).model_config.hf_config

    old = get_rope(8, base=config.rope_theta, rope_scaling=config.rope_scaling)
    new = get_rope(8, rope_parameters=config.rope_parameters)
    assert old.part == new.part == Rope(theta=500.0, rotary_dim=4, scaling=LinearScaling(factor=2.0))


def test_positions_without_scaling_are_plain_under_both_names(tmp_path):
    config = view(tmp_path, rope_theta=500.0).model_config.hf_config

    old = get_rope(8, base=config.rope_theta, rope_scaling=getattr(config, "rope_scaling", None))
    new = get_rope(8, rope_parameters=config.rope_parameters)
    assert old.part == new.part == Rope(theta=500.0, rotary_dim=8)


def test_a_model_type_without_a_class_becomes_an_object_with_its_values(tmp_path):
    config = view(tmp_path, model_type="nobody_knows_it", architectures=["Mine"]).model_config.hf_config

    assert (config.hidden_size, config.model_type) == (32, "nobody_knows_it")
