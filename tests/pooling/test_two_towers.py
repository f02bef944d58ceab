"""Texts of two-tower models become vectors in the space that they share with images (text_embeds)."""

from __future__ import annotations

import pytest
import torch
import transformers
from tiny_encoders import prompts
from tiny_poolers import engine
from torch.nn import functional as F

TEXT = {"vocab_size": 320, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
        "max_position_embeddings": 64}
VISION = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2,
          "image_size": 16, "patch_size": 8}
END = 319
CLIP_TEXT = TEXT | {"eos_token_id": END, "bos_token_id": None, "pad_token_id": 0, "projection_dim": 24}


def write(path, name: str, config) -> torch.nn.Module:
    torch.manual_seed(3)
    model = getattr(transformers, name)(config).float().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape), alpha=0.1)
    model.save_pretrained(path)
    return model


def embeddings(path, given) -> torch.Tensor:
    with engine(path) as llm:
        outputs = llm.embed([{"prompt_token_ids": ids} for ids in given], use_tqdm=False)
    return torch.tensor([output.outputs.embedding for output in outputs])


@pytest.mark.proves("tested", "name")
@pytest.mark.proves("pooling", "name")
@pytest.mark.parametrize("name", ["CLIPModel", "CLIPTextModelWithProjection"])
def test_clips_texts_are_projected(tmp_path, name):
    whole = transformers.CLIPConfig(text_config=CLIP_TEXT, vision_config=VISION, projection_dim=24)
    model = write(tmp_path, name, whole if name == "CLIPModel" else transformers.CLIPTextConfig(**CLIP_TEXT))
    given = [[*(i for i in ids if i != END), END] for ids in prompts(1, 9, 40)]

    found = embeddings(tmp_path, given)

    with torch.inference_mode():
        pooled = [model.text_model(torch.tensor([ids])).pooler_output[0] for ids in given]
        wanted = F.normalize(model.text_projection(torch.stack(pooled)), dim=-1)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.proves("tested", "name")
@pytest.mark.proves("pooling", "name")
@pytest.mark.parametrize("name", ["SiglipModel", "SiglipTextModel"])
def test_siglips_texts_are_projected(tmp_path, name):
    text = TEXT | {"projection_size": 24}
    config = transformers.SiglipConfig(text_config=text, vision_config=VISION)
    model = write(tmp_path, name, config if name == "SiglipModel" else config.text_config)
    tower, given = getattr(model, "text_model", model), prompts(1, 9, 40)

    found = embeddings(tmp_path, given)

    with torch.inference_mode():
        pooled = torch.stack([tower(torch.tensor([ids])).pooler_output[0] for ids in given])
    torch.testing.assert_close(found, F.normalize(pooled, dim=-1), rtol=1e-4, atol=1e-5)
