"""Every described family of encoders gives the states of Transformers, alone and in company."""

from __future__ import annotations

import json
from pathlib import Path

import encoder_kinds
import pytest
import tiny_encoders
import torch
import torch.nn.functional as F
from encoder_kinds import ARCHITECTURE_OF, BERT, KINDS, write_kind, write_model
from jina_bert import JinaBert
from nomic_moe import NomicMoe
from safetensors.torch import load_file, save_file
from tiny_encoders import prompts, token_states
from tiny_poolers import logits_of
from torch import Tensor

from weft import LLM, PoolingParams
from weft.errors import ConfigError

TOLERANCE = 1e-4              # of the length of a state, float32 on both sides
PROMPTS = prompts(1, 17, 2, 40, 100, 16)
PADDED = {"pad_token_id": 1}


def states(path: Path, **options) -> list[Tensor]:
    """Of all prompts in one step, then of each alone."""
    asked = [{"prompt_token_ids": ids} for ids in PROMPTS]
    with LLM(model=str(path), dtype="float32", skip_tokenizer_init=True, num_threads=1, use_tqdm_on_load=False,
             max_model_len=100, kv_cache_memory_bytes=1 << 24, model_impl="native", **options) as llm:
        outputs = llm.encode(asked, use_tqdm=False)
        assert llm.stats.num_steps == 1
        for prompt in asked:
            outputs += llm.encode([prompt], use_tqdm=False)
    return [output.outputs.data for output in outputs]


def compare(found: list[Tensor], wanted: list[Tensor]) -> None:
    for rows, expected in zip(found, wanted * 2, strict=True):
        assert rows.shape == expected.shape
        assert ((rows - expected).norm(dim=-1) / expected.norm(dim=-1)).max() < TOLERANCE


@pytest.mark.proves("tested", "kind", ARCHITECTURE_OF)
@pytest.mark.proves("pooling", "kind", ARCHITECTURE_OF)
@pytest.mark.parametrize("kind", KINDS)
def test_states_are_those_of_transformers_alone_and_in_company(kind, tmp_path):
    model = write_kind(tmp_path, kind)
    wanted = [token_states(model, ids) for ids in PROMPTS]

    compare(states(tmp_path), wanted)


@pytest.mark.parametrize("kind", ["deberta-v3", "mpnet", "modernbert", "albert-groups"])
def test_states_are_the_same_without_native_kernels(kind, tmp_path):
    model = write_kind(tmp_path, kind)

    compare(states(tmp_path, cpu_isa="reference"), [token_states(model, ids) for ids in PROMPTS])


@pytest.mark.parametrize("kind", ["deberta-v3", "t5"])
def test_bfloat16_states_are_near(kind, tmp_path):
    model = write_kind(tmp_path, kind)
    with LLM(model=str(tmp_path), dtype="bfloat16", skip_tokenizer_init=True, num_threads=1, max_model_len=100,
             use_tqdm_on_load=False) as llm:
        for ids, output in zip(PROMPTS, llm.encode(PROMPTS, use_tqdm=False), strict=True):
            assert F.cosine_similarity(output.outputs.data, token_states(model, ids)).min() > 0.995


@pytest.mark.parametrize("name", ["Bert", "XLMRoberta", "Electra", "Albert", "DistilBert", "MPNet", "DebertaV2",
                                  "ModernBert", "NomicBert", "Gte", "EuroBert", "Ultrabert"])
def test_a_masked_language_models_states_are_its_bodys(name, tmp_path):
    values = BERT | ({"pad_token_id": 1} if name in ("XLMRoberta", "MPNet") else {"pad_token_id": 0})
    model = write_model(tmp_path, f"{name}ForMaskedLM", values)

    compare(states(tmp_path), [token_states(model.base_model, ids) for ids in PROMPTS])


@pytest.mark.parametrize("end", ["Sequence", "Token"])
@pytest.mark.parametrize(("name", "values"), [
    ("Ernie", {}), ("XLMRoberta", PADDED), ("RobertaPreLayerNorm", PADDED), ("XLMRobertaXL", PADDED),
    ("MegatronBert", {}), ("Electra", {"embedding_size": 64}), ("RemBert", {"input_embedding_size": 32}),
    ("Albert", {}), ("DistilBert", {}), ("MPNet", PADDED), ("RoFormer", {}), ("DebertaV2", {}), ("NomicBert", {}),
    ("Deberta", {}),
    ("Gte", {}), ("JinaEmbeddingsV3", PADDED), ("ModernBert", {"classifier_pooling": "mean", "classifier_bias": True}),
    ("Ultrabert", {}), ("EuroBert", {"classifier_pooling": "late"}), ("EuroBert", {"classifier_pooling": "bos"}),
], ids=lambda x: x if isinstance(x, str) else next(iter(map(str, x.values())), ""))
def test_classifiers_of_encoders_give_transformers_logits(name, values, end, tmp_path):
    model = write_model(tmp_path, f"{name}For{end}Classification", BERT | {"pad_token_id": 0, "num_labels": 3} | values)
    params = PoolingParams(task=f"{'token_' * (end == 'Token')}classify", use_activation=False)
    with LLM(model=str(tmp_path), dtype="float32", skip_tokenizer_init=True, num_threads=1, use_tqdm_on_load=False,
             max_model_len=100, kv_cache_memory_bytes=1 << 24, model_impl="native") as llm:
        for ids, output in zip(PROMPTS, llm.encode(PROMPTS, params, use_tqdm=False), strict=True):
            expected = logits_of(model, ids)
            assert torch.allclose(output.outputs.data, expected, atol=1e-4 * float(expected.abs().max()))


def test_embedding_gemma_sees_half_a_window_on_each_side(tmp_path):
    values = BERT | {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 12, "pad_token_id": 0,
                     "use_bidirectional_attention": True, "query_pre_attn_scalar": 16, "sliding_window_pattern": 2}
    model = write_model(tmp_path, "Gemma3TextModel", values)

    compare(states(tmp_path), [token_states(model, ids) for ids in PROMPTS])

    config = json.loads((tmp_path / "config.json").read_text()) | {"architectures": ["Gemma3ForCausalLM"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match="use_bidirectional_attention"):
        LLM(model=str(tmp_path), skip_tokenizer_init=True)


def test_llama_as_an_encoder_sees_all_tokens_and_pools_as_its_config_says(tmp_path):
    model = write_model(tmp_path, "LlamaModel", BERT | {"num_key_value_heads": 2, "pad_token_id": 0})
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(
        config | {"architectures": ["LlamaBidirectionalModel"], "model_type": "llama_bidirec", "pooling": "avg"}))
    with torch.inference_mode():
        wanted = [model(torch.tensor([ids]), attention_mask=torch.zeros(1, 1, len(ids), len(ids))).last_hidden_state[0]
                  for ids in PROMPTS]

    compare(states(tmp_path), wanted)
    with LLM(model=str(tmp_path), dtype="float32", skip_tokenizer_init=True, num_threads=1,
             use_tqdm_on_load=False) as llm:
        (output,) = llm.embed(PROMPTS[1:2], use_tqdm=False)
    assert torch.allclose(torch.tensor(output.outputs.embedding), F.normalize(wanted[1].mean(0), dim=0), atol=1e-4)


@pytest.mark.proves("tested", None, "NewModel")
def test_the_new_architecture_of_gte_is_read_as_its_authors_publish_it(tmp_path):
    model = write_model(tmp_path, "GteModel", BERT | {"pad_token_id": 0})
    frequencies = (20000.0 * 8) ** (-torch.arange(0, 16, 2) / 16) / 8 ** (2 / 16)        # what their code calls "ntk"
    model.rotary_emb.inv_freq.copy_(frequencies)
    file, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    config = json.loads(file.read_text()) | {
        "architectures": ["NewModel"], "model_type": "new", "rope_theta": 20000.0, "layer_norm_type": "layer_norm",
        "rope_scaling": {"type": "ntk", "factor": 8.0}, "position_embedding_type": "rope", "pack_qkv": True}
    del config["rope_parameters"]
    file.write_text(json.dumps(config))
    save_file({f"new.{name}": tensor for name, tensor in load_file(weights).items()}, weights)

    compare(states(tmp_path), [token_states(model, ids) for ids in PROMPTS])


@pytest.mark.proves("tested", None, "JinaBertModel")
@pytest.mark.parametrize(("isa", "is_code"), [("auto", False), ("reference", False), ("auto", True)])
def test_jina_bert_counts_distances_on_both_sides(isa, is_code, tmp_path):
    model = JinaBert(is_code=is_code)
    save_file(model.weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(model.config()))

    compare(states(tmp_path, cpu_isa=isa), [model.states(ids) for ids in PROMPTS])


@pytest.mark.parametrize(("kind", "changes", "key"), [
    ("deberta-v3", {"conv_kernel_size": 3}, "conv_kernel_size"),
    ("deberta-v3", {"pos_att_type": ["p2p"]}, "pos_att_type"),
    ("nomic", {"prenorm": True}, "prenorm"), ("roformer", {"rotary_value": True}, "rotary_value"),
    ("ernie", {"use_task_id": True}, "use_task_id"),
    ("modernbert", {"layer_types": ["full_attention"]}, "layer_types"),
    ("t5", {"feed_forward_proj": "gated-relu"}, "feed_forward_proj"),
])
def test_what_would_change_the_numbers_is_refused(kind, changes, key, tmp_path):
    write_kind(tmp_path, kind)
    file = tmp_path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    with pytest.raises(ConfigError, match=key):
        states(tmp_path)


def test_kinds_are_no_others_families():
    assert not encoder_kinds.ARCHITECTURES & tiny_encoders.ARCHITECTURES


def test_nomic_bert_is_read_as_its_authors_publish_it(tmp_path):
    model = write_model(tmp_path, "NomicBertModel", BERT)
    published = {
        "architectures": ["NomicBertModel"], "model_type": "nomic_bert", "activation_function": "swiglu", "n_embd": 64,
        "n_head": 4, "n_inner": 96, "n_layer": 3, "n_positions": 130, "layer_norm_epsilon": 1e-12, "vocab_size": 320,
        "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "rotary_emb_interleaved": False, "prenorm": False,
        "rotary_emb_scale_base": None, "rotary_scaling_factor": None, "qkv_proj_bias": False, "mlp_fc1_bias": False,
        "mlp_fc2_bias": False, "type_vocab_size": 2, "causal": False, "use_flash_attn": True, "fused_bias_fc": True,
        "max_trained_positions": 2048, "pad_vocab_size_multiple": 64, "parallel_block": False, "use_rms_norm": False}
    (tmp_path / "config.json").write_text(json.dumps(published))

    compare(states(tmp_path), [token_states(model, ids) for ids in PROMPTS])


def test_nomic_bert_with_experts_is_read_as_its_authors_publish_it(tmp_path):
    model = NomicMoe()
    save_file(model.weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(model.config()))

    compare(states(tmp_path), [model.states(ids) for ids in PROMPTS])
    (tmp_path / "config.json").write_text(json.dumps(model.config() | {"moe_normalize_expert_weights": True}))
    with pytest.raises(ConfigError, match="moe_normalize_expert_weights"):
        states(tmp_path)


def test_jina_v3_is_read_as_its_authors_publish_it_without_its_adapters(tmp_path):
    model = write_model(tmp_path, "JinaEmbeddingsV3Model", BERT | PADDED)
    file, weights = tmp_path / "config.json", tmp_path / "model.safetensors"
    config = json.loads(file.read_text()) | {
        "architectures": ["XLMRobertaModel"], "model_type": "xlm-roberta", "position_embedding_type": "rotary",
        "rotary_emb_base": 20000.0, "lora_adaptations": ["separation"], "lora_alpha": 1, "lora_rank": 4,
        "lora_dropout_p": 0.0, "lora_main_params_trainable": False, "use_flash_attn": True, "use_reg_tokens": False,
        "task_instructions": {"separation": ""}, "truncate_dim": None, "emb_pooler": "mean"}
    del config["rope_parameters"]
    file.write_text(json.dumps(config))
    published = {}
    for name, tensor in load_file(weights).items():
        if tensor.dim() == 2:
            stem = f"roberta.{name.removesuffix('weight')}parametrizations.weight."
            published[stem + "original"] = tensor
            published |= {stem + f"0.lora_{side}": torch.randn(1, 4, 4) for side in "AB"}
        else:
            published[f"roberta.{name}"] = tensor
    save_file(published, weights)

    compare(states(tmp_path), [token_states(model, ids) for ids in PROMPTS])


@pytest.mark.parametrize("buckets", [2, 512])
def test_buckets_that_leave_no_ranges_of_distances_are_refused(tmp_path, buckets):
    write_kind(tmp_path, "mpnet")

    with pytest.raises(ConfigError, match=rf"relative_attention_num_buckets = {buckets}.*4 to 511 buckets"):
        LLM(str(tmp_path), skip_tokenizer_init=True, hf_overrides={"relative_attention_num_buckets": buckets})
