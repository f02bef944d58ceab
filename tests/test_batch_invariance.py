"""The logits of a request are bitwise the same alone, in a shuffled batch, chunked, from cached prefixes and preempted.

Whole models on the native kernels, at every level that this machine has, in bfloat16 and with quantized weights.
"""

import random

import pytest
import torch
from company import logits
from isa_levels import native_levels
from transformers import AutoConfig, AutoModelForCausalLM

from weft import LLM

LEVELS = [level for level in native_levels() if level != "amx_emulated"]           # those that an engine may use
pytestmark = pytest.mark.skipif(not native_levels(), reason="no native kernels here")

SIZES = {"vocab_size": 260, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 256}
MODELS = {
    "llama": ("llama", {}),
    "sliding-window": ("mistral", {"sliding_window": 21}),
    "experts": ("qwen3_moe", {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 64}),
    "latent": ("deepseek_v3", {
        "num_key_value_heads": 4, "kv_lora_rank": 32, "q_lora_rank": 32, "qk_nope_head_dim": 32,
        "qk_rope_head_dim": 16, "v_head_dim": 32, "n_routed_experts": 6, "num_experts_per_tok": 2, "n_group": 3,
        "topk_group": 2, "moe_intermediate_size": 64, "n_shared_experts": 1, "first_k_dense_replace": 1}),
    "soft-cap": ("gemma2", {"query_pre_attn_scalar": 32, "sliding_window": 40}),
}
WAYS = {
    "int8": {"quantization": "int8"},
    "int4": {"quantization": "int4"},
    "w8a8": {"quantization": "w8a8"},
    "w4a8": {"quantization": "w4a8"},
    "int8-cache": {"kv_cache_dtype": "int8"},
}
EVERY = range(32)      # numbers of the prompts


def engine(directory, **options):
    return LLM(model=str(directory), skip_tokenizer_init=True, **({
        "dtype": "bfloat16", "logprobs_mode": "raw_logits", "max_logprobs": -1, "max_model_len": 256,
        "use_tqdm_on_load": False, "enable_prefix_caching": False} | options))


CASES = [(model, isa, way) for model in MODELS for isa in LEVELS for way in ("dense", *WAYS)
         if isa == LEVELS[-1] or (model, way) == ("llama", "dense")]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """{model: directory}."""
    directories = {}
    for model, (model_type, changes) in MODELS.items():
        torch.manual_seed(0)
        config = AutoConfig.for_model(model_type, **SIZES | changes, initializer_range=0.3)
        directories[model] = tmp_path_factory.mktemp(model)
        AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(directories[model])
    return directories


@pytest.mark.parametrize("model, isa, way", CASES)
def test_logits_are_bitwise_the_same_whatever_happens_around_a_request(checkpoints, model, isa, way):
    directory = checkpoints[model]
    options = {"cpu_isa": isa, "num_threads": 1} | WAYS.get(way, {})
    alone = {}
    with engine(directory, **options) as llm:
        for i in EVERY:
            alone |= logits(llm, [i])[0]
        plan = llm.collective_rpc("memory_plan")[0]
    small = 40 * plan["kv_cache_bytes"] // max(plan["num_blocks"])        # 40 blocks: less than they need together
    num_answers = len({str(found) for found in alone.values()})
    assert num_answers > len(EVERY) - 4, "the requests differ, so that a mix-up would show"

    order = random.Random(1).sample(EVERY, len(EVERY))
    with engine(directory, **options | {"num_threads": 2}) as llm:
        assert logits(llm, order)[0] == alone, "in a shuffled batch on two threads"
    with engine(directory, max_num_batched_tokens=33, max_num_seqs=32, **options) as llm:
        assert logits(llm, EVERY)[0] == alone, "in chunks of at most 33 tokens"
    with engine(directory, **options | {"enable_prefix_caching": True}) as llm:
        logits(llm, EVERY)
        found, outputs = logits(llm, order)
        assert sum(output.num_cached_tokens for output in outputs) > 500
        assert found == alone, "from cached prefixes"
    with engine(directory, kv_cache_memory_bytes=small, **options) as llm:
        found, outputs = logits(llm, EVERY)
        assert sum(output.metrics.num_preemptions for output in outputs) > 0
        assert found == alone, "preempted"
