"""Modules of sentence-transformers behind the states: poolings, alone and joined, Dense, LayerNorm, Normalize."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tiny_encoders import prompts, token_states, write_encoder
from tiny_poolers import engine
from torch import Tensor, nn
from toy_engine import save_tokenizer

from weft import PoolingParams
from weft.errors import CheckpointError, ConfigError, NotBuiltError, RequestError

TOLERANCE = 2e-5
PROMPTS = prompts(1, 2, 16, 17, 40)
MODES = {
    "cls_token": lambda s: s[0], "max_tokens": lambda s: s.amax(0), "mean_tokens": lambda s: s.mean(0),
    "mean_sqrt_len_tokens": lambda s: s.sum(0) / len(s) ** 0.5, "lasttoken": lambda s: s[-1],
    "weightedmean_tokens": lambda s: torch.arange(1.0, len(s) + 1) @ s / sum(range(1, len(s) + 1)),
}


def write_modules(directory: Path, *modules: tuple[str, dict[str, object], dict[str, Tensor]]) -> None:
    """modules.json with a Transformer and these modules: (kind, config, weights) each, in folders of their own."""
    listed = [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}]
    for i, (kind, config, weights) in enumerate(modules, 1):
        folder = directory / f"{i}_{kind}"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        if weights:
            save_file(weights, folder / "model.safetensors")
        listed.append({"idx": i, "name": str(i), "path": folder.name, "type": f"sentence_transformers.models.{kind}"})
    (directory / "modules.json").write_text(json.dumps(listed))


def pooling(*modes: str) -> tuple[str, dict[str, object], dict[str, Tensor]]:
    return "Pooling", {f"pooling_mode_{mode}": mode in modes for mode in MODES}, {}


def dense(width: int, out: int, act: str = "Tanh", *, bias: bool = True) -> tuple[str, dict[str, object],
                                                                              dict[str, Tensor]]:
    weights = {"linear.weight": torch.randn(out, width, generator=torch.Generator().manual_seed(out)) / 8}
    weights |= {"linear.bias": torch.linspace(-1, 1, out)} if bias else {}
    return "Dense", {"in_features": width, "out_features": out, "bias": bias,
                     "activation_function": f"torch.nn.modules.activation.{act}"}, weights


def embed(path: Path) -> Tensor:
    with engine(path) as llm:
        return torch.tensor([output.outputs.embedding for output in llm.embed(PROMPTS, use_tqdm=False)])


def pooled(model: nn.Module, *modes: str) -> Tensor:
    return torch.stack([torch.cat([MODES[mode](token_states(model, ids)) for mode in modes]) for ids in PROMPTS])


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_alone(tmp_path, mode):
    model = write_encoder(tmp_path)
    write_modules(tmp_path, pooling(mode))

    assert torch.allclose(embed(tmp_path), pooled(model, mode), atol=TOLERANCE)


def test_several_modes_are_joined_in_the_order_of_the_library(tmp_path):
    model = write_encoder(tmp_path)
    write_modules(tmp_path, pooling("lasttoken", "mean_tokens", "max_tokens", "cls_token"), ("Normalize", {}, {}))

    expected = pooled(model, "cls_token", "max_tokens", "mean_tokens", "lasttoken")
    assert torch.allclose(embed(tmp_path), F.normalize(expected, dim=-1), atol=TOLERANCE)


@pytest.mark.parametrize("bias", [True, False])
def test_dense_layers_and_norms_come_behind_the_pooling_in_their_order(tmp_path, bias):
    model = write_encoder(tmp_path)
    first, last = dense(128, 32, bias=bias), dense(32, 16, "GELU")
    norm = {"norm.weight": torch.linspace(0.5, 2, 32), "norm.bias": torch.linspace(-1, 1, 32)}
    write_modules(tmp_path, pooling("mean_tokens", "cls_token"), first, ("LayerNorm", {"dimension": 32}, norm),
                  ("Normalize", {}, {}), last, ("Normalize", {}, {}))

    x = pooled(model, "cls_token", "mean_tokens")
    x = F.linear(x, first[2]["linear.weight"], first[2].get("linear.bias")).tanh()
    x = F.normalize(F.layer_norm(x, (32,), norm["norm.weight"], norm["norm.bias"]), dim=-1)
    x = F.gelu(F.linear(x, last[2]["linear.weight"], last[2]["linear.bias"]))
    assert torch.allclose(embed(tmp_path), F.normalize(x, dim=-1), atol=TOLERANCE)


def test_layers_behind_one_state_are_applied_to_tokens_too(tmp_path):
    model = write_encoder(tmp_path)
    layer = dense(64, 16)
    write_modules(tmp_path, pooling("cls_token"), layer)
    with engine(tmp_path) as llm:
        [output] = llm.encode([PROMPTS[2]], use_tqdm=False)

    x = F.linear(token_states(model, PROMPTS[2]), layer[2]["linear.weight"], layer[2]["linear.bias"]).tanh()
    assert torch.allclose(output.outputs.data, x, atol=TOLERANCE)


def test_layers_without_a_pooling_are_late_interaction(tmp_path):
    model = write_encoder(tmp_path)
    layer = dense(64, 16, bias=False)
    layer[1]["activation_function"] = "torch.nn.modules.linear.Identity"
    write_modules(tmp_path, layer)
    with engine(tmp_path) as llm:
        with pytest.raises(RequestError, match="tasks: token_embed"):
            llm.embed(PROMPTS[:1], use_tqdm=False)
        found = [output.outputs.data for output in llm.encode(PROMPTS[2:4], use_tqdm=False)]

    for ids, rows in zip(PROMPTS[2:4], found, strict=True):
        expected = F.normalize(token_states(model, ids) @ layer[2]["linear.weight"].T, dim=-1)
        assert torch.allclose(rows, expected, atol=TOLERANCE)


@pytest.mark.parametrize("name", [
    "os.system", "torch.nn.modules.linear.Linear", "builtins.eval", "torch.nn.modules.activation.GLU",
    "torch.nn.modules.loss.MSELoss", "torch.nn.modules.module.Module"])
def test_what_is_no_function_of_torch_that_keeps_a_shape_is_refused(tmp_path, name):
    write_encoder(tmp_path)
    layer = dense(64, 16)
    layer[1]["activation_function"] = name
    write_modules(tmp_path, pooling("cls_token"), layer)

    with pytest.raises(ConfigError, match=name.rpartition(".")[2]):
        embed(tmp_path)


def test_modules_without_code_or_files_are_one_error(tmp_path):
    write_encoder(tmp_path)
    write_modules(tmp_path, pooling("cls_token"), ("LSTM", {}, {}))
    with pytest.raises(NotBuiltError, match=r"\[2\].type = 'LSTM' .*expected Transformer, Pooling, SpladePooling"):
        embed(tmp_path)

    write_modules(tmp_path, pooling("cls_token"), dense(64, 16))
    (tmp_path / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="2_Dense"):
        embed(tmp_path)

    (tmp_path / "2_Dense" / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"2_Dense/config.json.*missing"):
        embed(tmp_path)


@pytest.mark.parametrize(("weights", "said"), [
    ({"linear.weight": torch.zeros(16, 64)}, r"2_Dense.*no linear.bias"),
    ({"linear.weight": torch.zeros(16, 63), "linear.bias": torch.zeros(16)}, r"\[16, 63\].*\[16, 64\]"),
    ({"linear.weight": torch.zeros(16, 64), "linear.bias": torch.zeros(16), "other.weight": torch.zeros(1)},
     "there is other.weight")])
def test_weights_that_do_not_fit_their_config_are_named(tmp_path, weights, said):
    write_encoder(tmp_path)
    kind, config, _ = dense(64, 16)
    write_modules(tmp_path, pooling("cls_token"), (kind, config, weights))

    with pytest.raises(CheckpointError, match=said):
        embed(tmp_path)


@pytest.mark.parametrize(("path", "said"), [
    ("../2_Dense", r"\[2\].path = '../2_Dense' .*expected a folder in the checkpoint"),
    ("/etc", r"\[2\].path = '/etc'"), (5, r"\[2\].path = 5"), ("1_Dense", "a folder for each module with weights")])
def test_folders_are_in_the_checkpoint_and_not_shared(tmp_path, path, said):
    write_encoder(tmp_path)
    write_modules(tmp_path, dense(64, 64), dense(64, 64))
    listed = json.loads((tmp_path / "modules.json").read_text())
    listed[2]["path"] = path
    (tmp_path / "modules.json").write_text(json.dumps(listed))

    with pytest.raises(ConfigError, match=said):
        embed(tmp_path)


def test_a_pooling_behind_layers_is_refused(tmp_path):
    write_encoder(tmp_path)
    write_modules(tmp_path, dense(64, 64), pooling("mean_tokens"))

    with pytest.raises(NotBuiltError, match=r"\[2\].type = 'Pooling' .*expected one Pooling, before other modules"):
        embed(tmp_path)


@pytest.mark.parametrize(("params", "said"), [
    ({"returned_token_ids": [64]}, "columns from 0 to 63"), ({"dimensions": 65}, "1 to 64")])
def test_a_tokens_row_has_no_more_numbers_than_its_state_where_poolings_are_joined(tmp_path, params, said):
    write_encoder(tmp_path)
    write_modules(tmp_path, pooling("cls_token", "mean_tokens"))

    with engine(tmp_path, hf_overrides={"is_matryoshka": True}) as llm, pytest.raises(RequestError, match=said):
        llm.encode([PROMPTS[2]], PoolingParams(**params), pooling_task="token_embed", use_tqdm=False)


def test_texts_become_lower_case_where_the_files_say_so(tmp_path):
    write_encoder(tmp_path)
    save_tokenizer(tmp_path)
    (tmp_path / "sentence_bert_config.json").write_text('{"do_lower_case": true}')
    with engine(tmp_path, skip_tokenizer_init=False) as llm:
        outputs = llm.embed(["A Fox", "a fox"], use_tqdm=False)

    assert [output.prompt_token_ids for output in outputs] == [list(b"a fox")] * 2


def test_a_lower_case_that_is_no_boolean_is_refused(tmp_path):
    write_encoder(tmp_path)
    (tmp_path / "sentence_bert_config.json").write_text('{"do_lower_case": "yes"}')

    with pytest.raises(ConfigError, match="do_lower_case = 'yes'"):
        engine(tmp_path)


def test_a_prompt_before_all_texts_is_told_and_one_without_a_text_refused(tmp_path, caplog):
    write_encoder(tmp_path)
    write_modules(tmp_path, pooling("mean_tokens"))
    file = tmp_path / "config_sentence_transformers.json"
    file.write_text('{"prompts": {"query": "find: "}, "default_prompt_name": "query"}')
    engine(tmp_path)
    assert "puts 'find: ' before each text" in caplog.text

    file.write_text('{"prompts": {}, "default_prompt_name": "query"}')
    with pytest.raises(ConfigError, match="default_prompt_name = 'query'"):
        engine(tmp_path)
