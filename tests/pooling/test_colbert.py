"""ColBERT checkpoints, whose layer behind each token lies beside the body, score texts token by token."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from encoder_kinds import BERT, write_model
from safetensors.torch import load_file, save_file
from tiny_encoders import prompts, token_states
from tiny_poolers import engine

from weft.errors import ConfigError, NotBuiltError, RequestError

PROMPTS = prompts(2, 17, 40)
VECTOR = torch.randn(24, 64, generator=torch.Generator().manual_seed(3)) / 8
BODIES = {"HF_ColBERT": ("BertModel", "bert.", {}),
          "ColBERTJinaRobertaModel": ("JinaEmbeddingsV3Model", "roberta.", {"position_embedding_type": "rotary"})}


def publish(path: Path, architecture: str, prefix: str, changes: dict[str, object]) -> None:
    """Change a body's checkpoint to that of a ColBERT."""
    config, weights = path / "config.json", path / "model.safetensors"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": [architecture]} | changes))
    tensors = {prefix + name: tensor for name, tensor in load_file(weights).items()}
    save_file(tensors | {"linear.weight": VECTOR}, weights)


@pytest.mark.proves("tested", "architecture", None)
@pytest.mark.proves("pooling", "architecture", None)
@pytest.mark.parametrize("architecture", BODIES)
def test_each_token_has_a_vector_of_the_layers_size(architecture, tmp_path):
    cls, prefix, changes = BODIES[architecture]
    model = write_model(tmp_path, cls, BERT | {"pad_token_id": 1})
    publish(tmp_path, architecture, prefix, changes)

    with engine(tmp_path, model_impl="native") as llm:
        found = [output.outputs.data for output in llm.encode(PROMPTS, use_tqdm=False)]
        with pytest.raises(RequestError, match="tasks: token_embed"):
            llm.embed(PROMPTS[:1], use_tqdm=False)

    for ids, rows in zip(PROMPTS, found, strict=True):
        torch.testing.assert_close(rows, F.normalize(token_states(model, ids) @ VECTOR.t(), dim=-1), atol=1e-4, rtol=0)


def test_a_size_in_the_config_that_the_layer_has_not_is_refused(tmp_path):
    write_model(tmp_path, "BertModel", BERT)
    publish(tmp_path, "HF_ColBERT", "bert.", {"dim": 0})

    with pytest.raises(ConfigError, match="dim = 0"):
        engine(tmp_path)


@pytest.mark.proves("tested", None, "ColBERTModernBertModel")
@pytest.mark.proves("pooling", None, "ColBERTModernBertModel")
def test_modernbert_with_the_files_of_pylate(tmp_path):
    model = write_model(tmp_path, "ModernBertModel", BERT | {"pad_token_id": 0})
    layer = tmp_path / "1_Dense"
    layer.mkdir()
    save_file({"linear.weight": VECTOR}, layer / "model.safetensors")
    config = {"in_features": 64, "out_features": 24, "bias": False, "use_residual": False,
              "activation_function": "torch.nn.modules.linear.Identity"}
    (layer / "config.json").write_text(json.dumps(config))
    (tmp_path / "modules.json").write_text(json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Dense", "type": "pylate.models.Dense.Dense"}]))

    with engine(tmp_path, hf_overrides={"architectures": ["ColBERTModernBertModel"]}, model_impl="native") as llm:
        (output,) = llm.encode(PROMPTS[1:2], use_tqdm=False)
    expected = F.normalize(token_states(model, PROMPTS[1]) @ VECTOR.t(), dim=-1)
    torch.testing.assert_close(output.outputs.data, expected, atol=1e-4, rtol=0)

    (layer / "config.json").write_text(json.dumps(config | {"use_residual": True}))
    with pytest.raises(NotBuiltError, match="use_residual"):
        engine(tmp_path)
