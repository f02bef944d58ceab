"""Classifiers give the logits of Transformers: each form of head, in any company."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tiny_encoders import MAX_LEN, prompts
from tiny_poolers import GPT2, GROUPED, engine, logits_of, write_model
from torch import Tensor, nn

from weft import LLM, PoolingParams, SamplingParams
from weft.errors import CheckpointError, ConfigError, RequestError

TOLERANCE = 1e-5      # of logits around 1, float32 on both sides
PROMPTS = prompts(1, 2, 15, 16, 17, 40, MAX_LEN)
POSITIONS = {"max_position_embeddings": MAX_LEN}
SEQUENCE = {
    "BertForSequenceClassification": POSITIONS,
    "RobertaForSequenceClassification": {"max_position_embeddings": MAX_LEN + 2},
    "LlamaForSequenceClassification": GROUPED,
    "Qwen2ForSequenceClassification": GROUPED,
    "Qwen3ForSequenceClassification": GROUPED,
    "MistralForSequenceClassification": GROUPED,
    "GemmaForSequenceClassification": GROUPED | {"head_dim": 16},
    "GPT2ForSequenceClassification": GPT2,
}
END = {"BertForSequenceClassification": "Model", "RobertaForSequenceClassification": "Model",
       "GPT2ForSequenceClassification": "LMHeadModel"}
TOKENS = {
    "BertForTokenClassification": POSITIONS,
    "RobertaForTokenClassification": {"max_position_embeddings": MAX_LEN + 2},
    "Qwen2ForTokenClassification": GROUPED,
    "LlamaForTokenClassification": GROUPED,
    "GPT2ForTokenClassification": GPT2,
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path = tmp_path_factory.mktemp("bert")
    return path, write_model(path, "BertForSequenceClassification", num_labels=3, **POSITIONS)


def logits(llm: LLM, wanted: list[list[int]], task: str = "classify", **params: object) -> list[Tensor]:
    outputs = llm.encode(wanted, PoolingParams(use_activation=False, **params), pooling_task=task, use_tqdm=False)
    return [output.outputs.data for output in outputs]


def edit(path: Path, **values: object) -> None:
    file = path / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


@pytest.mark.proves("pooling", "name", {name: name.replace("ForSequenceClassification", END.get(name, "ForCausalLM"))
                                        for name in SEQUENCE})
@pytest.mark.parametrize("name", SEQUENCE)
def test_a_prompts_logits_are_those_of_transformers_alone_in_company_and_in_chunks(tmp_path, name):
    model = write_model(tmp_path, name, num_labels=3, **SEQUENCE[name])
    budget = MAX_LEN if name.startswith(("Bert", "Roberta")) else 16      # decoders compute prompts in chunks
    with engine(tmp_path, max_num_seqs=4, max_num_batched_tokens=budget) as llm:
        together = logits(llm, PROMPTS)
        alone = [logits(llm, [prompt])[0] for prompt in PROMPTS[:3]]

    for ids, ours in zip(PROMPTS + PROMPTS[:3], together + alone, strict=True):
        assert ours.dtype == torch.float32 and ours.shape == (3,)
        assert torch.allclose(ours, logits_of(model, ids), atol=TOLERANCE, rtol=1e-4)


@pytest.mark.parametrize("name", TOKENS)
def test_each_tokens_logits_are_those_of_transformers(tmp_path, name):
    model = write_model(tmp_path, name, num_labels=5, **TOKENS[name])
    budget = MAX_LEN if name.startswith(("Bert", "Roberta")) else 16
    with engine(tmp_path, max_num_seqs=4, max_num_batched_tokens=budget) as llm:
        found = logits(llm, PROMPTS, "token_classify")
        [probs] = llm.encode(PROMPTS[3:4], use_tqdm=False)
        with pytest.raises(RequestError, match=r"task = 'classify'.*tasks: token_classify"):
            llm.classify(PROMPTS[:1], use_tqdm=False)

    for ids, ours in zip(PROMPTS, found, strict=True):
        assert torch.allclose(ours, logits_of(model, ids), atol=TOLERANCE, rtol=1e-4)
    assert torch.allclose(probs.outputs.data, logits_of(model, PROMPTS[3]).softmax(-1), atol=TOLERANCE)


def test_a_decoders_classifier_answers_for_each_token_too(tmp_path):
    model = write_model(tmp_path, "LlamaForSequenceClassification", num_labels=2, **GROUPED)
    with engine(tmp_path, max_num_batched_tokens=16, max_num_seqs=4) as llm:
        [rows] = logits(llm, PROMPTS[5:6], "token_classify")
        [last] = logits(llm, PROMPTS[5:6])

    assert rows.shape == (40, 2) and torch.allclose(rows[-1], last, atol=TOLERANCE)
    assert torch.allclose(rows[16], logits_of(model, PROMPTS[5][:17]), atol=TOLERANCE)


@pytest.mark.parametrize(("num_labels", "problem", "function"), [
    (3, None, lambda x: x.softmax(-1)), (1, None, torch.sigmoid), (3, "regression", lambda x: x),
    (1, "regression", lambda x: x), (3, "single_label_classification", lambda x: x.softmax(-1)),
    (3, "multi_label_classification", torch.sigmoid)])
def test_the_problem_says_what_becomes_of_the_logits(tmp_path, num_labels, problem, function):
    model = write_model(tmp_path, "BertForSequenceClassification", num_labels=num_labels, problem_type=problem,
                        **POSITIONS)
    with engine(tmp_path) as llm:
        [output] = llm.classify([PROMPTS[2]], use_tqdm=False)
        [raw] = llm.classify([PROMPTS[2]], pooling_params=PoolingParams(use_activation=False), use_tqdm=False)

    wanted = logits_of(model, PROMPTS[2])
    assert output.outputs.num_classes == num_labels
    assert output.outputs.probs == pytest.approx(function(wanted).tolist(), abs=TOLERANCE)
    assert raw.outputs.probs == pytest.approx(wanted.tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("keys", [
    {"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}},
    {"sbert_ce_default_activation_function": "torch.nn.modules.activation.Tanh"}])
def test_a_cross_encoders_function_is_the_one_that_its_files_name(tmp_path, keys):
    model = write_model(tmp_path, "BertForSequenceClassification", num_labels=1, **POSITIONS)
    edit(tmp_path, **keys)
    with engine(tmp_path) as llm:
        [output] = llm.classify([PROMPTS[2]], use_tqdm=False)

    assert output.outputs.probs == pytest.approx(logits_of(model, PROMPTS[2]).tanh().tolist(), abs=TOLERANCE)


@pytest.mark.parametrize("name", ["os.system", "torch.nn.modules.module.register_module_forward_hook",
                                  "torch.nn.modules.linear.Linear", "torch.nn.modules.conv.os", "torch.nn.Tanh",
                                  "torch.nn.modules.activation.PReLU"])
def test_no_other_code_is_run_because_a_config_names_it(tmp_path, bert, name):
    for file in bert[0].iterdir():
        (tmp_path / file.name).symlink_to(file) if file.name != "config.json" else None
    (tmp_path / "config.json").write_text((bert[0] / "config.json").read_text())
    edit(tmp_path, sbert_ce_default_activation_function=name)

    with pytest.raises(ConfigError, match=name.rpartition(".")[2]):
        engine(tmp_path)


def test_labels_that_do_not_fit_the_weights_are_told_with_both_numbers(bert):
    with pytest.raises(CheckpointError, match=r"classifier.weight.*\[3, 64\].*\n?.*\[5, 64\]"):
        engine(bert[0], hf_overrides={"num_labels": 5})


def test_heads_compute_in_float32_whatever_the_models_dtype(bert):
    path, model = bert
    with engine(path, dtype="bfloat16") as llm:
        dtypes = llm.apply_model(lambda body: {p.dtype for p in body.pooler.parameters()})
        near = logits(llm, PROMPTS)

    assert dtypes == [{torch.float32}]
    for ids, ours in zip(PROMPTS, near, strict=True):
        assert torch.allclose(ours, logits_of(model, ids), atol=0.2)


def test_a_classifier_neither_generates_nor_embeds(bert):
    with engine(bert[0]) as llm:
        with pytest.raises(RequestError, match=r"task = 'generate'.*tasks: classify"):
            llm.generate([PROMPTS[0]], SamplingParams(detokenize=False), use_tqdm=False)
        with pytest.raises(RequestError, match=r"task = 'embed'.*tasks: classify"):
            llm.embed([PROMPTS[0]], use_tqdm=False)
    with pytest.raises(ConfigError, match=r"runner = 'generate'.*BertForSequenceClassification is for pooling"):
        engine(bert[0], runner="generate")


def test_a_classifier_can_be_asked_for_its_states_instead(bert):
    path, model = bert
    with engine(path, convert="embed") as llm:
        [states] = llm.encode([PROMPTS[2]], use_tqdm=False)

    expected = model.bert(torch.tensor([PROMPTS[2]])).last_hidden_state[0]
    assert torch.allclose(states.outputs.data, expected, atol=1e-4)


def test_a_model_that_generates_is_a_pooling_model_where_that_is_asked_for(tmp_path):
    model = write_model(tmp_path, "Qwen2ForCausalLM", **GROUPED)
    with engine(tmp_path) as llm, pytest.raises(RequestError, match=r"task = 'embed'.*runner=.pooling. and convert="):
        llm.embed([PROMPTS[2]], use_tqdm=False)
    with engine(tmp_path, runner="pooling") as llm:
        [output] = llm.embed([PROMPTS[2]], use_tqdm=False)
        with pytest.raises(RequestError, match=r"task = 'generate'"):
            llm.generate([PROMPTS[0]], SamplingParams(detokenize=False), use_tqdm=False)
    with pytest.raises(ConfigError, match=r"convert = 'none': expected auto, embed or classify"):
        engine(tmp_path, runner="pooling", convert="none")
    with pytest.raises(ConfigError, match=r"convert = 'embed': expected auto or none"):
        engine(tmp_path, runner="generate", convert="embed")

    last = model.model(torch.tensor([PROMPTS[2]])).last_hidden_state[0, -1]
    assert output.outputs.embedding == pytest.approx((last / last.norm()).tolist(), abs=TOLERANCE)


def test_a_body_without_a_head_is_an_embedder_by_its_name(tmp_path):
    model = write_model(tmp_path, "LlamaModel", **GROUPED)
    with engine(tmp_path, max_num_batched_tokens=16, max_num_seqs=4) as llm:
        outputs = llm.encode(PROMPTS, pooling_task="token_embed", use_tqdm=False)

    for ids, output in zip(PROMPTS, outputs, strict=True):
        expected = model(torch.tensor([ids])).last_hidden_state[0]
        assert torch.allclose(output.outputs.data, expected, atol=1e-4)


def test_labels_without_numbers_are_refused_at_start(bert):
    with pytest.raises(ConfigError, match="id2label"):
        engine(bert[0], hf_overrides={"id2label": {"calm": 0, "glad": 1, "sad": 2}})
