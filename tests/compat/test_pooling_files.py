"""Model files written for vLLM that pool run unchanged: with vLLM's poolers, with their own, as encoders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from tiny_encoders import MAX_LEN, prompts, token_states
from tiny_poolers import GROUPED, engine, write_model
from torch import Tensor

from weft import LLM, PoolingParams
from weft.errors import ConfigError, NotBuiltError, RequestError

FILES = Path(__file__).parent / "vllm_files"
TOLERANCE = 2e-5
PROMPTS = prompts(1, 2, 16, 17, 40)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    path = tmp_path_factory.mktemp("llama")
    return path, write_model(path, "LlamaModel", **GROUPED)


def run(path: Path, name: str, **options: object) -> LLM:
    return engine(path, model_file=f"{FILES / 'pooling_llama.py'}:{name}", max_num_batched_tokens=64, max_num_seqs=4,
                  **options)


def vectors(llm: LLM, **params: object) -> Tensor:
    outputs = llm.embed(PROMPTS, pooling_params=PoolingParams(**params), use_tqdm=False)
    return torch.tensor([output.outputs.embedding for output in outputs])


def test_vllms_poolers_embed_as_the_class_the_user_and_the_request_say(llama):
    path, model = llama
    states = [token_states(model, ids) for ids in PROMPTS]
    mean, last = torch.stack([s.mean(0) for s in states]), torch.stack([s[-1] for s in states])
    with run(path, "LlamaEmbedder", hf_overrides={"is_matryoshka": True}) as llm:
        assert torch.allclose(vectors(llm), F.normalize(mean, dim=-1), atol=TOLERANCE)
        assert torch.allclose(vectors(llm, dimensions=8, use_activation=False), mean[:, :8], atol=TOLERANCE)
        rows = llm.encode(PROMPTS, PoolingParams(use_activation=False), use_tqdm=False)
        with pytest.raises(RequestError, match="tasks: embed, token_embed"):
            llm.generate(PROMPTS[:1], use_tqdm=False)
    with run(path, "LlamaEmbedder", pooler_config={"pooling_type": "LAST", "use_activation": False}) as llm:
        assert torch.allclose(vectors(llm), last, atol=TOLERANCE)

    for row, expected in zip(rows, states, strict=True):
        assert torch.allclose(row.outputs.data, expected, atol=TOLERANCE)


def test_late_interaction_has_rows_of_the_files_projector(llama):
    path, model = llama
    with run(path, "LlamaColBERT") as llm:
        [rows] = llm.encode([PROMPTS[2]], use_tqdm=False)
        assert llm._engine.client.info.pooling.score_type == "late-interaction"

    expected = F.normalize(token_states(model, PROMPTS[2])[:, :8], dim=-1)
    assert torch.allclose(rows.outputs.data, expected, atol=TOLERANCE)


def test_a_classifier_of_the_file_scores(tmp_path):
    model = write_model(tmp_path, "LlamaForSequenceClassification", num_labels=2, **GROUPED)
    with run(tmp_path, "LlamaReranker") as llm:
        probs = [output.outputs.probs for output in llm.classify(PROMPTS, use_tqdm=False)]
        [rows] = llm.encode([PROMPTS[2]], PoolingParams(use_activation=False), pooling_task="token_classify",
                            use_tqdm=False)

    for ids, found in zip(PROMPTS, probs, strict=True):
        with torch.inference_mode():
            wanted = model(torch.tensor([ids])).logits[0].softmax(-1)
        assert found == pytest.approx(wanted.tolist(), abs=TOLERANCE)
    assert rows.outputs.data.shape == (16, 2)


def test_a_pooler_of_the_files_own_is_given_one_whole_prompt_after_another(llama):
    path, model = llama
    with run(path, "LlamaOwn") as llm:
        found = vectors(llm)

    expected = torch.stack([torch.cat([s[0], s[-1]]) for s in (token_states(model, ids) for ids in PROMPTS)])
    assert torch.allclose(found, expected, atol=TOLERANCE)


def test_the_task_plugin_gives_a_models_output_as_it_is(llama):
    path, model = llama
    with run(path, "LlamaPlugin") as llm:
        [output] = llm.encode([PROMPTS[2]], pooling_task="plugin", use_tqdm=False)

    assert torch.allclose(output.outputs.data, token_states(model, PROMPTS[2]), atol=TOLERANCE)


def test_an_encoder_sees_later_tokens_and_prompts_do_not_see_each_other(tmp_path):
    random = torch.Generator().manual_seed(4)
    shapes = {"embed.weight": (50, 32), "qkv.weight": (96, 32), "out.weight": (32, 32), "classifier.weight": (3, 32),
              "classifier.bias": (3,), "types.weight": (2, 32)}
    weights = {name: torch.randn(shape, generator=random) / 4 for name, shape in shapes.items()}
    save_file(weights, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({
        "architectures": ["TinyEncoder"], "model_type": "bert", "vocab_size": 50, "hidden_size": 32,
        "num_labels": 3, "type_vocab_size": 2,
        "num_attention_heads": 2, "num_hidden_layers": 1, "max_position_embeddings": MAX_LEN}))
    wanted = [[token % 50 for token in ids] for ids in PROMPTS]
    with engine(tmp_path, model_file=str(FILES / "pooling_bert.py"), max_num_batched_tokens=64, max_num_seqs=4) as llm:
        found = llm.classify(wanted, use_tqdm=False)
        found += llm.classify([{"prompt_token_ids": ids, "token_type_ids": [1] * len(ids)} for ids in wanted],
                              use_tqdm=False)

    for number, (ids, output) in enumerate(zip(wanted * 2, found, strict=True)):
        x, probs = weights["embed.weight"][ids] + weights["types.weight"][number // 5], output.outputs.probs
        q, k, v = ((x @ part.T).view(len(ids), 2, 16).transpose(0, 1) for part in weights["qkv.weight"].chunk(3))
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(0, 1).reshape(len(ids), 32)
        first = (x + mixed @ weights["out.weight"].T)[0]
        logits = first @ weights["classifier.weight"].T + weights["classifier.bias"]
        assert probs == pytest.approx(logits.softmax(-1).tolist(), abs=TOLERANCE)


def test_a_file_whose_model_generates_embeds_where_that_is_asked_for(tmp_path):
    model = write_model(tmp_path, "LlamaForCausalLM", head_dim=16, **GROUPED)
    file = tmp_path / "model.safetensors"
    save_file(load_file(file), file, metadata={"format": "pt"})
    options = {"model_file": str(FILES / "g2_llama.py"), "runner": "pooling", "max_num_batched_tokens": 16,
               "max_num_seqs": 4}
    with engine(tmp_path, **options) as llm:
        found = vectors(llm)
    with pytest.raises(NotBuiltError, match=r"convert = 'classify': expected embed"):
        engine(tmp_path, convert="classify", **options)

    last = torch.stack([token_states(model.model, ids)[-1] for ids in PROMPTS])
    assert torch.allclose(found, F.normalize(last, dim=-1), atol=1e-4)


def test_a_pooler_without_tasks_of_pooling_is_refused(tmp_path, llama):
    file = tmp_path / "mine.py"
    file.write_text((FILES / "pooling_llama.py").read_text().replace('return {"embed"}', 'return {"sing"}'))

    with pytest.raises(ConfigError, match=r"model_class.pooler = 'LlamaOwn': expected a pooler for one of embed"):
        engine(llama[0], model_file=f"{file}:LlamaOwn")


def test_a_pooler_that_gives_no_tensor_is_named(tmp_path, llama):
    file = tmp_path / "mine.py"
    text = (FILES / "pooling_llama.py").read_text()
    file.write_text(text.replace("        return torch.cat([hidden_states[cursor.first", "        return [None]\n"
                                 "        return torch.cat([hidden_states[cursor.first"))

    with pytest.raises(ConfigError, match=r"model_class.pooler.*expected a tensor for each prompt"):
        engine(llama[0], model_file=f"{file}:LlamaOwn")
