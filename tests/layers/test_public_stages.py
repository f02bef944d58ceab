"""A stage of a pipeline makes its own layers, knows which others have, and hands tensors on by name."""

import pytest
import torch
from torch import nn

from weft.errors import ConfigError
from weft.layers.public import (
    IntermediateTensors,
    PPMissingLayer,
    extract_layer_index,
    is_pp_missing_parameter,
    make_empty_intermediate_tensors_factory,
    make_layers,
    maybe_prefix,
)
from weft.parallel import Group, Ranks, running_on


class Place(Group):
    """A place in a group of processes that exchange nothing."""

    def __init__(self, rank, size):
        super().__init__()
        self.rank_in_group, self.world_size = rank, size


class Layer(nn.Linear):
    def __init__(self, *, prefix):
        super().__init__(2, 2)
        self.prefix = prefix


@pytest.mark.parametrize(("num_layers", "size", "spans"), [
    (3, 1, [(0, 3)]), (4, 2, [(0, 2), (2, 4)]), (5, 2, [(0, 3), (3, 5)]), (8, 3, [(0, 3), (3, 6), (6, 8)]),
    (7, 3, [(0, 2), (2, 5), (5, 7)]),
])
def test_stages_have_all_layers_once_and_the_last_is_never_the_largest(num_layers, size, spans):
    found = []
    for rank in range(size):
        with running_on(Ranks(pipeline=Place(rank, size))):
            start, end, layers = make_layers(num_layers, Layer, prefix="model.layers")
        found.append((start, end))
        made = [number for number, layer in enumerate(layers) if not isinstance(layer, PPMissingLayer)]
        assert made == list(range(start, end))
        assert [layers[number].prefix for number in made] == [f"model.layers.{number}" for number in made]
    assert found == spans


def test_fewer_layers_than_stages_are_refused():
    with running_on(Ranks(pipeline=Place(0, 3))), pytest.raises(ConfigError, match="num_hidden_layers = 2"):
        make_layers(2, Layer, prefix="layers")


def test_parameters_that_another_stage_has_are_known_by_name():
    model = nn.Module()
    with running_on(Ranks(pipeline=Place(1, 2))):
        _, _, model.layers = make_layers(12, Layer, prefix="layers")

    assert is_pp_missing_parameter("layers.1.weight", model)
    assert not is_pp_missing_parameter("layers.10.weight", model)
    assert next(name for name, _ in model.named_parameters()) == "layers.6.weight"


def test_a_missing_layer_passes_its_first_argument_on():
    x = torch.ones(2)

    assert PPMissingLayer("any", size=3)(x, x + 1) is x
    assert PPMissingLayer()(hidden_states=x) is x


def test_tensors_between_stages_are_found_by_name_and_cut_by_rows():
    tensors = make_empty_intermediate_tensors_factory(["hidden_states", "residual"], 4)(3, torch.float16, "cpu")
    tensors["residual"] = torch.ones(3, 4)

    assert tensors["hidden_states"].shape == (3, 4)
    assert tensors["hidden_states"].dtype == torch.float16
    assert len(tensors[1:3]["residual"]) == 2
    assert dict(IntermediateTensors({"a": torch.ones(1)}).items()).keys() == {"a"}


@pytest.mark.parametrize(("name", "modules", "index"), [
    ("model.layers.3.self_attn", 1, 3), ("h.11", 1, 11), ("model.layers.3.attn.1", 2, 7)])
def test_a_layers_number_is_read_from_its_name(name, modules, index):
    assert extract_layer_index(name, modules) == index


@pytest.mark.parametrize("name", ["model.layers", "a.1.b.2", ""])
def test_a_name_without_one_number_is_refused(name):
    with pytest.raises(ConfigError, match="expected a name with one number"):
        extract_layer_index(name)


def test_a_prefix_may_be_empty():
    assert (maybe_prefix("", "model"), maybe_prefix("a", "model")) == ("model", "a.model")
