"""The borrowed vision tower computes what Transformers' tower computes."""

import pytest
import torch
from public_layers import REFERENCE, finish, made
from tiny_models import noise
from transformers import SiglipVisionConfig
from transformers import SiglipVisionModel as TheirTower

from weft.models.library.siglip import SiglipVisionModel

CONFIG = SiglipVisionConfig(hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
                            image_size=32, patch_size=8)


@pytest.fixture(scope="module")
def theirs():
    model = TheirTower(CONFIG).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(noise(name, tuple(parameter.shape)))
    return model


def tower(theirs, **options):
    model, _ = made(lambda: SiglipVisionModel(CONFIG, **options), REFERENCE)
    model.load_weights((f"vision_model.{name}", tensor.data) for name, tensor in theirs.named_parameters())
    finish(model)
    return model.eval()


def pixels(*size):
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


@torch.no_grad()
@pytest.mark.parametrize("size, resized", [((32, 32), False), ((48, 40), True)], ids=["own size", "resized"])
def test_the_tower_gives_the_same_states(theirs, size, resized):
    wanted = theirs(pixels(*size), interpolate_pos_encoding=resized).last_hidden_state

    assert torch.allclose(tower(theirs)(pixels(*size), resized), wanted, atol=1e-4)


@torch.no_grad()
def test_a_tower_that_is_cut_short_gives_the_states_of_its_last_layer(theirs):
    wanted = theirs(pixels(32, 32), output_hidden_states=True).hidden_states[2]

    assert torch.allclose(tower(theirs, num_hidden_layers_override=2)(pixels(32, 32)), wanted, atol=1e-4)


@torch.no_grad()
def test_chosen_layers_are_concatenated(theirs):
    states = theirs(pixels(32, 32), output_hidden_states=True).hidden_states

    found = tower(theirs)(pixels(32, 32), select_layers=[1, -1])

    assert torch.allclose(found, torch.cat([states[1], states[3]], dim=-1), atol=1e-4)


@torch.no_grad()
def test_the_pooling_head_gives_the_same_vector(theirs):
    model, wanted = tower(theirs), theirs(pixels(32, 32)).pooler_output

    assert torch.allclose(model.vision_model.head(model(pixels(32, 32))), wanted, atol=1e-4)


def test_an_image_of_another_size_is_refused_unless_positions_are_resized(theirs):
    with pytest.raises(ValueError, match="6 x 5 patches: expected 4 x 4"):
        tower(theirs)(pixels(48, 40))
