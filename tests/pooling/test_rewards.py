"""Reward models, and models that generate, read as classifiers of the tokens that they would answer with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_encoders import prompts
from tiny_poolers import GROUPED, engine, write_model
from torch import Tensor, nn
from word_tokenizer import save_word_tokenizer

from weft import PoolingParams, SamplingParams
from weft.errors import ConfigError

TOLERANCE = 2e-5
PROMPTS = prompts(1, 2, 16, 17, 40)
LONG = {"max_num_batched_tokens": 16, "max_num_seqs": 4}


def rewrite(path: Path, change, **values: object) -> dict[str, Tensor]:
    """Change a checkpoint's tensors and keys of its config; the tensors."""
    file = path / "model.safetensors"
    tensors = change(load_file(file))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    config = path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | values))
    return tensors


def states(model: nn.Module, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        return model.model(torch.tensor([ids])).last_hidden_state[0]


def with_reward_head(num_labels: int):
    random = torch.Generator().manual_seed(1)
    head = {"score.0.weight": torch.randn(64, 64, generator=random) / 8, "score.0.bias": torch.linspace(-1, 1, 64),
            "score.2.weight": torch.randn(num_labels, 64, generator=random) / 8,
            "score.2.bias": torch.linspace(-1, 1, num_labels)}
    return head, lambda tensors: {name: x for name, x in tensors.items() if name != "lm_head.weight"} | head


def rewards(head: dict[str, Tensor], x: Tensor) -> Tensor:
    x = nn.functional.linear(x, head["score.0.weight"], head["score.0.bias"]).relu()
    return nn.functional.linear(x, head["score.2.weight"], head["score.2.bias"])


@pytest.mark.proves("tested", None, "Qwen2ForRewardModel")
@pytest.mark.proves("pooling", None, "Qwen2ForRewardModel")
def test_a_reward_model_scores_texts_and_their_tokens_without_a_function(tmp_path):
    model = write_model(tmp_path, "Qwen2ForCausalLM", **GROUPED)
    head, change = with_reward_head(1)
    rewrite(tmp_path, change, architectures=["Qwen2ForRewardModel"])
    with engine(tmp_path, **LONG) as llm:
        texts = [output.outputs.probs for output in llm.classify(PROMPTS, use_tqdm=False)]
        tokens = [output.outputs.data for output in llm.reward(PROMPTS, use_tqdm=False)]

    for ids, text, rows in zip(PROMPTS, texts, tokens, strict=True):
        expected = rewards(head, states(model, ids))
        assert torch.allclose(rows, expected, atol=TOLERANCE) and text == pytest.approx([expected[-1].item()], abs=1e-4)


@pytest.mark.proves("tested", None, "Qwen2ForProcessRewardModel")
@pytest.mark.proves("pooling", None, "Qwen2ForProcessRewardModel")
def test_a_process_reward_model_scores_each_step(tmp_path):
    model = write_model(tmp_path, "Qwen2ForCausalLM", **GROUPED)
    head, change = with_reward_head(2)
    rewrite(tmp_path, change, architectures=["Qwen2ForProcessRewardModel"])
    ids = [5, 6, 9, 7, 9]
    with engine(tmp_path, pooler_config={"step_tag_id": 9}) as llm:
        [output] = llm.reward([ids], use_tqdm=False)

    assert torch.allclose(output.outputs.data, rewards(head, states(model, ids))[[2, 4]].softmax(-1), atol=TOLERANCE)


def internlm2(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a tiny Llama under InternLM 2's names, q, k and v fused in groups of two query heads."""
    renamed = {"model.embed_tokens": "model.tok_embeddings", "lm_head": "output", "self_attn.o_proj": "attention.wo",
               "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm",
               "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2", "mlp.up_proj": "feed_forward.w3"}
    out = {}
    for name, x in tensors.items():
        if "self_attn.k" in name or "self_attn.v" in name:
            continue
        if "self_attn.q" in name:
            q, k, v = (tensors[name.replace("q_proj", f"{part}_proj")] for part in "qkv")
            groups = torch.cat([q.view(2, 2, 16, 64), k.view(2, 1, 16, 64), v.view(2, 1, 16, 64)], dim=1)
            out[name.replace("self_attn.q_proj", "attention.wqkv")] = groups.reshape(-1, 64)
            continue
        for old, new in renamed.items():
            name = name.replace(old, new)
        out[name] = x
    return out


@pytest.mark.proves("tested", None, "InternLM2ForCausalLM")
@pytest.mark.proves("tested", None, "InternLM2ForRewardModel")
@pytest.mark.proves("pooling", None, "InternLM2ForRewardModel")
def test_internlm2_generates_and_rewards(tmp_path):
    model = write_model(tmp_path, "LlamaForCausalLM", **GROUPED)
    head = torch.randn(1, 64, generator=torch.Generator().manual_seed(2)) / 8
    rewrite(tmp_path, internlm2, architectures=["InternLM2ForCausalLM"], model_type="internlm2")
    with engine(tmp_path) as llm:
        [answer] = llm.generate([PROMPTS[3]], SamplingParams(temperature=0, max_tokens=4, detokenize=False,
                                                             ignore_eos=True), use_tqdm=False)
    rewrite(tmp_path, lambda tensors: {name: x for name, x in tensors.items() if name != "output.weight"}
            | {"v_head.weight": head}, architectures=["InternLM2ForRewardModel"], reward_token_id=7)
    with engine(tmp_path, pooler_config={"use_activation": False}, **LONG) as llm:
        found = [output.outputs.probs for output in llm.classify(PROMPTS, use_tqdm=False)]

    wanted = model.generate(torch.tensor([PROMPTS[3]]), max_new_tokens=4, do_sample=False, eos_token_id=None)
    assert answer.outputs[0].token_ids == wanted[0, len(PROMPTS[3]):].tolist()
    for ids, probs in zip(PROMPTS, found, strict=True):
        assert probs == pytest.approx((states(model, ids)[-1] @ head.T).tolist(), abs=TOLERANCE)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def generator(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path = tmp_path_factory.mktemp("generator")
    model = write_model(path, "Qwen3ForCausalLM", tie_word_embeddings=request.param, **GROUPED)
    save_word_tokenizer(path)
    return path, model


RERANKER = {"architectures": ["Qwen3ForSequenceClassification"], "classifier_from_token": ["w3", "w8"]}
NO, YES = 8, 13      # their ids


def logits(model: nn.Module, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0, -1]


@pytest.mark.parametrize("keys", [{"is_original_qwen3_reranker": True}, {"method": "from_2_way_softmax"}])
def test_a_reranker_gives_the_likelihood_of_yes_against_no(generator, keys):
    path, model = generator
    with engine(path, hf_overrides=RERANKER | keys) as llm:
        found = [output.outputs.probs for output in llm.classify(PROMPTS, use_tqdm=False)]

    for ids, probs in zip(PROMPTS, found, strict=True):
        wanted = logits(model, ids)[[NO, YES]].softmax(-1)[1]
        assert probs == pytest.approx([wanted.item()], abs=TOLERANCE)


def test_a_rerankers_pair_is_one_text(generator):
    path, model = generator
    with engine(path, hf_overrides=RERANKER | {"is_original_qwen3_reranker": True}, skip_tokenizer_init=False) as llm:
        [output] = llm.score("w1 w2 ", "w5 w6", use_tqdm=False)

    assert output.prompt_token_ids == [2, 6, 7, 10, 11, 3]      # [CLS] and [SEP] are around the whole
    wanted = logits(model, output.prompt_token_ids)[[NO, YES]].softmax(-1)[1]
    assert output.outputs.score == pytest.approx(wanted.item(), abs=TOLERANCE)


def test_labels_may_be_the_likelihoods_of_several_tokens(generator):
    path, model = generator
    overrides = {**RERANKER, "classifier_from_token": ["w3", 13, 40], "method": "no_post_processing"}
    with engine(path, hf_overrides=overrides) as llm:
        [output] = llm.classify([PROMPTS[2]], use_tqdm=False)
        [raw] = llm.classify([PROMPTS[2]], pooling_params=PoolingParams(use_activation=False), use_tqdm=False)

    wanted = logits(model, PROMPTS[2])[[8, 13, 40]]
    assert output.outputs.probs == pytest.approx(wanted.softmax(-1).tolist(), abs=TOLERANCE)
    assert raw.outputs.probs == pytest.approx(wanted.tolist(), abs=2e-4)


@pytest.mark.parametrize(("name", "more"), [
    ("PhiForCausalLM", {"pad_token_id": 0, "max_position_embeddings": 128}),
    ("Gemma2ForCausalLM", {**GROUPED, "head_dim": 16, "final_logit_softcapping": 2.0})])
def test_a_labels_logit_is_that_of_the_whole_head_for_tokens(tmp_path, name, more):
    model = write_model(tmp_path, name, **more)
    name = name.replace("CausalLM", "SequenceClassification")
    overrides = {"architectures": [name], "classifier_from_token": [8, 13]}
    wanted = logits(model, PROMPTS[2])[[8, 13]]
    for method, found in (("no_post_processing", wanted.softmax(-1)), ("from_2_way_softmax", wanted.softmax(-1)[1:])):
        with engine(tmp_path, hf_overrides={**overrides, "method": method}) as llm:
            [output] = llm.classify([PROMPTS[2]], use_tqdm=False)
        assert output.outputs.probs == pytest.approx(found.tolist(), abs=TOLERANCE)


@pytest.mark.parametrize(("keys", "said"), [
    ({}, "method = None"), ({"method": "mean"}, "method = 'mean'"),
    ({"classifier_from_token": ["w3"], "method": "from_2_way_softmax"}, "two tokens"),
    ({"classifier_from_token": ["w3", "maybe"], "method": "no_post_processing"}, "classifier_from_token = 'maybe'"),
    ({"classifier_from_token": ["w3", 5000], "method": "no_post_processing"}, "classifier_from_token = 5000"),
    ({"classifier_from_token": None, "is_original_qwen3_reranker": True}, "two tokens"),
])
def test_settings_that_make_no_labels_are_refused(generator, keys, said):
    with pytest.raises(ConfigError, match=said):
        engine(generator[0], hf_overrides=RERANKER | keys, skip_tokenizer_init=False)
