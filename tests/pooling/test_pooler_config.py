"""PoolerConfig: its fields and older names, from an object, a dictionary or the command line; and what they change."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from tiny_encoders import MAX_LEN, prompts, token_states, write_encoder, write_sentence_files
from tiny_poolers import GROUPED, engine, logits_of, write_model
from torch import nn

from weft import EngineArgs, PoolingParams
from weft.cli.main import build_parser
from weft.config import PoolerConfig
from weft.errors import ConfigError, RequestError

TOLERANCE = 2e-5
PROMPTS = prompts(1, 2, 16, 17, 40)


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    path = tmp_path_factory.mktemp("bert")
    return path, write_encoder(path)


def vectors(llm, wanted=PROMPTS, **params: object) -> torch.Tensor:
    outputs = llm.embed(wanted, pooling_params=PoolingParams(**params), use_tqdm=False)
    return torch.tensor([output.outputs.embedding for output in outputs])


@pytest.mark.parametrize(("values", "said"), [
    ({"pooling_type": "MAX"}, r"pooling_type = 'MAX': expected one of CLS, LAST, MEAN, ALL, STEP, or None"),
    ({"seq_pooling_type": "ALL"}, "seq_pooling_type = 'ALL'"),
    ({"tok_pooling_type": "LAST"}, "tok_pooling_type = 'LAST'"),
    ({"pooling_type": "CLS", "seq_pooling_type": "CLS"}, "pooling_type = 'CLS': expected None beside"),
    ({"logit_sigma": 0}, "logit_sigma = 0: expected a number other than 0"),
    ({"logit_mean": "much"}, "logit_mean = 'much'"),
    ({"dimensions": 0}, "dimensions = 0"), ({"dimensions": True}, "dimensions = True"),
    ({"use_activation": 1}, "use_activation = 1"), ({"task": "score"}, "task = 'score'"),
    ({"step_tag_id": -1}, "step_tag_id = -1"), ({"returned_token_ids": []}, "returned_token_ids"),
    ({"max_embed_len": 9}, "max_embed_len = 9: expected None without enable_chunked_processing"),
    ({"normalize": True, "use_activation": False}, "normalize = True"), ({"logit_scale": 0}, "logit_scale = 0"),
])
def test_a_wrong_setting_names_its_field(values, said):
    with pytest.raises(ConfigError, match=said):
        PoolerConfig(**values)


def test_unknown_settings_are_named_and_other_objects_refused():
    with pytest.raises(TypeError, match="pooling_typ"):
        PoolerConfig(pooling_typ="CLS")
    with pytest.raises(ConfigError, match=r"pooler_config = .*did you mean 'pooling_type'"):
        EngineArgs(model="m", pooler_config={"pooling_typ": "CLS"})
    with pytest.raises(ConfigError, match="pooler_config = 'CLS'"):
        EngineArgs(model="m", pooler_config="CLS")


@pytest.mark.parametrize(("older", "today"), [
    ({"normalize": False}, {"use_activation": False}), ({"softmax": True}, {"use_activation": True}),
    ({"activation": True}, {"use_activation": True}), ({"logit_bias": 2.0}, {"logit_mean": 2.0}),
    ({"logit_scale": 4.0}, {"logit_sigma": 0.25}), ({"returned_token_ids": [1, 2]}, {"returned_token_ids": (1, 2)})])
def test_older_names_mean_todays(older, today):
    assert PoolerConfig(**older) == PoolerConfig(**today)


def test_the_option_has_an_older_name_and_a_flag():
    wanted = PoolerConfig(pooling_type="MEAN", use_activation=False)
    given = {"pooling_type": "MEAN", "normalize": False}
    parsed = build_parser("embed").parse_args(
        ["a", "--model", "m", "--pooler-config", '{"pooling_type": "MEAN", "use_activation": false}'])

    assert EngineArgs(model="m", pooler_config=wanted).pooler_config == wanted
    assert EngineArgs(model="m", override_pooler_config=given).pooler_config == wanted
    assert EngineArgs.from_cli_args(parsed).pooler_config == wanted


@pytest.mark.parametrize(("kind", "pick"), [
    ("CLS", lambda s: s[0]), ("LAST", lambda s: s[-1]), ("MEAN", lambda s: s.mean(0))])
@pytest.mark.parametrize("field", ["pooling_type", "seq_pooling_type"])
def test_the_pooling_of_a_prompt_wins_over_the_files(tmp_path, bert, kind, pick, field):
    model = write_encoder(tmp_path)
    write_sentence_files(tmp_path, mode="max_tokens", normalize=False)
    with engine(tmp_path, pooler_config={field: kind}) as llm:
        found = vectors(llm)

    assert torch.allclose(found, torch.stack([pick(token_states(model, ids)) for ids in PROMPTS]), atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["CLS", "MEAN"])
def test_a_decoder_that_is_pooled_at_other_places_computes_whole_prompts(tmp_path, kind):
    model = write_model(tmp_path, "LlamaModel", **GROUPED)
    with engine(tmp_path, pooler_config={"pooling_type": kind}, max_num_batched_tokens=64, max_num_seqs=4) as llm:
        assert llm.config.model.max_model_len == 64
        found, again = vectors(llm), llm.embed([PROMPTS[4]], use_tqdm=False)[0]

    states = [token_states(model, ids) for ids in PROMPTS]
    expected = torch.stack([s[0] if kind == "CLS" else s.mean(0) for s in states])
    assert torch.allclose(found, F.normalize(expected, dim=-1), atol=TOLERANCE)
    assert again.num_cached_tokens == 0


def test_scaling_is_the_configs_unless_a_request_says_otherwise(bert):
    path, model = bert
    expected = torch.stack([token_states(model, ids)[0] for ids in PROMPTS])
    with engine(path, pooler_config=PoolerConfig(use_activation=False)) as llm:
        assert torch.allclose(vectors(llm), expected, atol=TOLERANCE)
        assert torch.allclose(vectors(llm, use_activation=True), F.normalize(expected, dim=-1), atol=TOLERANCE)


def test_logits_are_calibrated_before_the_function(tmp_path):
    model = write_model(tmp_path, "BertForSequenceClassification", num_labels=1, max_position_embeddings=MAX_LEN)
    with engine(tmp_path, pooler_config={"logit_mean": 0.5, "logit_sigma": 2.0}) as llm:
        [output] = llm.classify([PROMPTS[2]], use_tqdm=False)
        [raw] = llm.classify([PROMPTS[2]], pooling_params=PoolingParams(use_activation=False), use_tqdm=False)
    with engine(tmp_path, pooler_config={"use_activation": False}) as llm:
        [plain] = llm.classify([PROMPTS[2]], use_tqdm=False)

    logit = logits_of(model, PROMPTS[2])
    assert output.outputs.probs == pytest.approx(((logit - 0.5) / 2).sigmoid().tolist(), abs=TOLERANCE)
    assert raw.outputs.probs == pytest.approx(((logit - 0.5) / 2).tolist(), abs=TOLERANCE)
    assert plain.outputs.probs == pytest.approx(logit.tolist(), abs=TOLERANCE)


def test_a_task_may_be_the_only_one(bert):
    with engine(bert[0], pooler_config={"task": "embed"}) as llm, pytest.raises(RequestError, match="tasks: embed"):
        llm.encode([PROMPTS[1]], pooling_task="token_embed", use_tqdm=False)
    with pytest.raises(ConfigError, match=r"pooler_config.task = 'classify': expected one of embed, token_embed"):
        engine(bert[0], pooler_config={"task": "classify"})


@pytest.mark.parametrize(("overrides", "size", "said"), [
    ({}, 16, "is_matryoshka"), ({"is_matryoshka": True}, 65, "1 to 64"),
    ({"matryoshka_dimensions": [8, 32]}, 16, "one of 8, 32")])
def test_sizes_that_a_model_is_not_trained_for_are_refused(bert, overrides, size, said):
    wrong = pytest.raises(RequestError, match=f"dimensions = {size}.*{said}")
    with engine(bert[0], hf_overrides=overrides) as llm, wrong:
        vectors(llm, dimensions=size)


@pytest.mark.parametrize(("config", "said"), [
    ({"dimensions": 65}, r"pooler_config.dimensions = 65: expected 1 to 64"),
    ({"returned_token_ids": [3, 64]}, r"returned_token_ids = \[3, 64\]: expected columns from 0 to 63"),
    ({"logit_mean": 0.5}, r"logit_mean = 0.5: expected None for a model without logits"),
    ({"logit_sigma": 2.0}, r"logit_sigma = 2.0: expected None for a model without logits"),
    ({"step_tag_id": 9}, r"step_tag_id = 9: expected None without the pooling STEP")])
def test_settings_that_the_model_has_no_use_for_are_refused(bert, config, said):
    with pytest.raises(ConfigError, match=said):
        engine(bert[0], pooler_config=config)


@pytest.mark.parametrize("overrides", [{"is_matryoshka": True}, {"matryoshka_dimensions": [16, 32]}])
def test_a_vector_is_cut_first_and_scaled_then(bert, overrides):
    path, model = bert
    cut = torch.stack([token_states(model, ids)[0][:16] for ids in PROMPTS])
    with engine(path, hf_overrides=overrides) as llm:
        assert torch.allclose(vectors(llm, dimensions=16), F.normalize(cut, dim=-1), atol=TOLERANCE)
        assert torch.allclose(vectors(llm, dimensions=16, use_activation=False), cut, atol=TOLERANCE)
        assert vectors(llm).shape == (5, 64)
        rows = llm.encode([PROMPTS[2]], PoolingParams(task="token_embed", dimensions=16), use_tqdm=False)
    with engine(path, hf_overrides=overrides, pooler_config={"dimensions": 16}) as llm:
        assert torch.allclose(vectors(llm), F.normalize(cut, dim=-1), atol=TOLERANCE)
        assert vectors(llm, dimensions=32).shape == (5, 32)

    assert torch.allclose(rows[0].outputs.data, token_states(model, PROMPTS[2])[:, :16], atol=TOLERANCE)


def test_steps_give_the_rows_of_their_last_tokens(tmp_path):
    model = write_model(tmp_path, "Qwen2ForTokenClassification", num_labels=4, **GROUPED)
    ids = [5, 6, 9, 7, 9, 8, 9]
    config = {"pooling_type": "STEP", "step_tag_id": 9, "returned_token_ids": [3, 1]}
    with engine(tmp_path, pooler_config=config) as llm:
        [found] = llm.encode([ids], use_tqdm=False)
        [other] = llm.encode([ids], PoolingParams(step_tag_id=6, returned_token_ids=[0], use_activation=False),
                             use_tqdm=False)
        [none] = llm.encode([[5, 6]], use_tqdm=False)
        with pytest.raises(RequestError, match=r"returned_token_ids = \[4\]: expected columns from 0 to 3"):
            llm.encode([ids], PoolingParams(returned_token_ids=[4]), use_tqdm=False)
    with engine(tmp_path) as llm, pytest.raises(RequestError, match="step_tag_id = 9: expected None"):
        llm.encode([ids], PoolingParams(step_tag_id=9), use_tqdm=False)
    with pytest.raises(ConfigError, match="step_tag_id = None"):
        engine(tmp_path, pooler_config={"pooling_type": "STEP"})

    logits = logits_of(model, ids)
    assert torch.allclose(found.outputs.data, logits[[2, 4, 6]][:, [3, 1]].softmax(-1), atol=TOLERANCE)
    assert torch.allclose(other.outputs.data, logits[[1]][:, [0]], atol=TOLERANCE)
    assert none.outputs.data.shape == (0, 2)


def test_a_decoder_that_was_trained_in_both_directions_says_so(tmp_path):
    write_model(tmp_path, "LlamaModel", **GROUPED)
    with engine(tmp_path) as causal, engine(tmp_path, hf_overrides={"is_causal": False}) as both:
        first = [llm.encode([PROMPTS[2]], use_tqdm=False)[0].outputs.data[0] for llm in (causal, both)]
        alone = [llm.encode([PROMPTS[2][:1]], use_tqdm=False)[0].outputs.data[0] for llm in (causal, both)]

    assert torch.allclose(first[0], alone[0], atol=TOLERANCE) and torch.allclose(alone[0], alone[1], atol=TOLERANCE)
    assert (first[1] - alone[1]).abs().max() > 1e-2          # the first token sees the later ones
