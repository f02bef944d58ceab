"""A fault in each kind of part is named: the layer, weft's name of the part, and the parameter that is suspected."""

import pytest
import torch
from planted import plant, shuffled, spec_file

from weft.testing import check_model, verify_model


def fault_of(path, model, **options):
    report = verify_model(path, reference=model, num_threads=1, **options)
    assert not report.is_equal
    assert report.blame == ("forward pass",)
    assert report.fault is not None
    return report.fault


@pytest.mark.parametrize(("variant", "config", "part", "kind"), [
    ("llama", {"rms_norm_eps": 0.02}, "blocks.0.mixer_norm", "epsilon of the norm"),
    ("llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 20000.0}}, "blocks.0.mixer.positions",
     "rope: theta"),
    ("llama", {"hidden_act": "gelu"}, "blocks.0.ffn.act", "activation: gelu here"),
    ("mistral", {"sliding_window": 9}, "blocks.0.mixer.mask", "mask: the window"),
    ("mixtral", {"num_experts_per_tok": 3}, "blocks.0.ffn.router", "router: number of experts"),
    ("gemma2", {"query_pre_attn_scalar": 25}, "blocks.0.mixer.scale", "scale of the scores"),
    ("gemma2", {"attn_logit_softcapping": 1.5}, "blocks.0.mixer.softcap", "softcap of the scores"),
    ("gemma2", {"final_logit_softcapping": 3.0}, "head", "softcap of the logits"),
    ("granite", {"residual_multiplier": 0.5}, "blocks.0.residual_scale", "residual_scale"),
    ("granite", {"embedding_multiplier": 3.0}, "embedding", "scale of the embedding"),
    ("granite", {"logits_scaling": 2.0}, "head", "scale of the logits"),
    ("granite", {"attention_multiplier": 0.5}, "blocks.0.mixer.scale", "scale of the scores"),
    ("qwen3", {"rms_norm_eps": 0.5}, "blocks.0.mixer_norm", "epsilon of the norm"),
])
def test_a_wrong_value_of_the_config(tmp_path, variant, config, part, kind):
    model = plant(tmp_path, variant, config=config)

    fault = fault_of(tmp_path, model)

    assert fault.part == part
    assert kind in fault.kind
    assert fault.layer == (0 if part.startswith("blocks") else None)


@pytest.mark.parametrize(("variant", "tensor", "change", "part", "kind"), [
    ("qwen2", "layers.1.self_attn.k_proj.bias", None, "blocks.1.mixer.k", "bias"),
    ("llama", "layers.1.self_attn.v_proj.weight", None, "blocks.1.mixer.v", "weight"),
    ("llama", "layers.0.self_attn.q_proj.weight", lambda x: x * 2, "blocks.0.mixer.q", "scale: results are 2 times"),
    ("llama", "layers.1.self_attn.o_proj.weight", shuffled, "blocks.1.mixer.o", "weight"),
    ("llama", "layers.1.input_layernorm.weight", None, "blocks.1.mixer_norm", "weight of the norm"),
    ("gpt2", "h.0.ln_2.bias", None, "blocks.0.ffn_norm", "bias of the norm"),
    ("gpt2", "h.1.attn.c_attn.bias", None, "blocks.1.mixer.q", "bias"),
    ("gpt2", "h.0.mlp.c_proj.bias", None, "blocks.0.ffn.down", "bias"),
    ("gpt2", "wpe.weight", shuffled, "embedding", "positions"),
    ("llama", "layers.0.mlp.up_proj.weight", shuffled, "blocks.0.ffn.gate", "weight or bias of the products"),
    ("llama", "layers.1.mlp.down_proj.weight", shuffled, "blocks.1.ffn.down", "weight"),
    ("mixtral", "layers.1.block_sparse_moe.gate.weight", shuffled, "blocks.1.ffn.router", "weight of the router"),
    ("mixtral", "layers.1.block_sparse_moe.experts.1.w2.weight", shuffled, "blocks.1.ffn.experts", "experts"),
    ("qwen3", "layers.0.self_attn.q_norm.weight", None, "blocks.0.mixer.qk_norm", "norm of q"),
    ("olmo2", "layers.1.post_attention_layernorm.weight", None, "blocks.1.mixer_post_norm", "weight of the norm"),
    ("llama", "model.norm.weight", None, "final_norm", "weight of the norm"),
    ("llama", "lm_head.weight", shuffled, "head", "weight of the head"),
    ("gptj", "lm_head.bias", None, "head", "bias of the head"),
])
def test_a_wrong_weight(tmp_path, variant, tensor, change, part, kind):
    model = plant(tmp_path, variant, tensor=tensor, **({} if change is None else {"change": change}))

    fault = fault_of(tmp_path, model)

    assert fault.part == part
    assert kind in fault.kind


@pytest.mark.parametrize(("variant", "architecture", "changes", "part", "kind"), [
    ("llama", "LlamaForCausalLM",
     "each(spec, lambda b: replace(b, mixer_norm=replace(b.mixer_norm, offset=1.0)))", "blocks.0.mixer_norm",
     "the offset that is added"),
    ("llama", "LlamaForCausalLM",
     "each(spec, lambda b: replace(b, ffn_norm=LayerNorm(eps=0.01, has_bias=False)))", "blocks.0.ffn_norm",
     "kind of norm"),
    ("llama", "LlamaForCausalLM",
     "each(spec, lambda b: replace(b, mixer=replace(b.mixer, positions=replace(b.mixer.positions, interleaved=True))))",
     "blocks.0.mixer.positions", "pairing of dimensions"),
    ("llama", "LlamaForCausalLM",
     "each(spec, lambda b: replace(b, mixer=replace(b.mixer, mask=SlidingWindow(window=5))))", "blocks.0.mixer.mask",
     "differ from position 5 on"),
    ("mixtral", "MixtralForCausalLM", "each(spec, lambda b: replace(b, ffn=replace(b.ffn, renormalize=False)))",
     "blocks.0.ffn.router", "router: renormalize"),
    ("mixtral", "MixtralForCausalLM", "each(spec, lambda b: replace(b, ffn=replace(b.ffn, scores='sigmoid')))",
     "blocks.0.ffn.router", "scores"),
    ("mixtral", "MixtralForCausalLM", "each(spec, lambda b: replace(b, ffn=replace(b.ffn, scale=2.5)))",
     "blocks.0.ffn.router", "results are 2.5 times"),
    ("llama", "LlamaForCausalLM",
     "replace(spec, blocks=(spec.blocks[0], replace(spec.blocks[1], mixer=replace(spec.blocks[1].mixer, scale=1.0))))",
     "blocks.1.mixer.scale", "scale of the scores: 1 here"),
])
def test_a_wrong_description(tmp_path, variant, architecture, changes, part, kind):
    (tmp_path / "model").mkdir()
    model = plant(tmp_path / "model", variant)

    fault = fault_of(tmp_path / "model", model, model_file=str(spec_file(tmp_path / "mine.py", architecture, changes)))

    assert fault.part == part
    assert kind in fault.kind


def test_check_model_raises_with_the_report(tmp_path):
    model = plant(tmp_path, "llama", config={"rms_norm_eps": 0.02})

    with pytest.raises(AssertionError, match=r"first part that differs: blocks\.0\.mixer_norm\n  suspected: epsilon"):
        check_model(tmp_path, reference=model, num_threads=1)


def test_not_a_number_differs(tmp_path):
    model = plant(tmp_path, "llama", tensor="layers.1.mlp.down_proj.weight", change=lambda x: x * torch.nan)

    report = verify_model(tmp_path, reference=model, num_threads=1)

    assert report.fault.part == "blocks.1.ffn.down"
    assert "forward pass" in report.blame
