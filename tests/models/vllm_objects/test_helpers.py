"""Small functions and tables of vLLM that model files call."""

import pytest
import torch

from weft.compat.vllm.helpers import token_inputs
from weft.errors import NotBuiltError
from weft.layers.public import NewGELU
from weft.models.vllm.eagle import EagleModelMixin
from weft.models.vllm.editable import _ACTIVATION_REGISTRY, _ROPE_DICT
from weft.models.vllm.helpers import (
    cast_overflow_tensors,
    length_from_prompt_token_ids_or_embeds,
    maybe_disable_graph_partition,
    sequence_parallel_chunk,
)
from weft.models.vllm.module_mapping import MultiModelKeys
from weft.models.vllm.platform import current_platform
from weft.parallel import Group, Ranks, running_on


def test_a_prompt_has_the_length_of_its_tokens_or_embeddings():
    assert length_from_prompt_token_ids_or_embeds([1, 2], None) == 2
    assert length_from_prompt_token_ids_or_embeds(None, torch.zeros(3, 8)) == 3
    assert length_from_prompt_token_ids_or_embeds([1, 2], torch.zeros(2, 8)) == 2


@pytest.mark.parametrize(("tokens", "embeds"), [(None, None), ([1], torch.zeros(2, 8))])
def test_a_prompt_without_one_length_is_refused(tokens, embeds):
    with pytest.raises(ValueError, match="expected one length"):
        length_from_prompt_token_ids_or_embeds(tokens, embeds)


def test_only_inductor_is_told_not_to_divide_graphs():
    assert maybe_disable_graph_partition(current_platform.simple_compile_backend) == {}
    assert maybe_disable_graph_partition("inductor") == {"graph_partition": False}


def test_numbers_beyond_the_dtype_come_back_into_it():
    x = torch.tensor([1.0, float("inf"), -float("inf")], dtype=torch.float16)

    assert cast_overflow_tensors(x).tolist() == [1.0, 64512.0, -64512.0]
    assert cast_overflow_tensors(x[:1]).tolist() == [1.0]


def test_each_rank_gets_its_share_of_the_rows():
    x = torch.arange(10.0).view(5, 2)

    assert torch.equal(sequence_parallel_chunk(x), x)
    shares = []
    for rank in (0, 1):
        group = Group()
        group.world_size, group.rank_in_group = 2, rank
        with running_on(Ranks(tensor=group)):
            shares.append(sequence_parallel_chunk(x))
    assert torch.equal(torch.cat(shares)[:5], x)
    assert [len(share) for share in shares] == [3, 3]
    assert shares[1][2].tolist() == [0, 0]


def test_prefixes_by_role():
    keys = MultiModelKeys.from_string_field("model", connector=["a", "b"])

    assert (keys.language_model, keys.connector, keys.tower_model) == (["model"], ["a", "b"], [])


def test_a_draft_head_gets_the_hidden_states_that_it_asks_for():
    model, x = EagleModelMixin(), torch.ones(1, 2)
    assert model._maybe_add_hidden_state([], 0, x, x) == []

    model._set_aux_hidden_state_layers((0, 2))

    assert [state.tolist() for state in model._maybe_add_hidden_state([], 0, x, x)] == [[[2.0, 2.0]]]
    [kept] = model._maybe_add_hidden_state([], 2, x, None)
    x += 1      # a norm of the block writes into its inputs
    assert kept.tolist() == [[1.0, 1.0]]


def test_the_tokens_of_a_prompt():
    assert token_inputs([1, 2], prompt="a") == {"type": "token", "prompt_token_ids": [1, 2], "prompt": "a"}
    with pytest.raises(NotBuiltError, match="token_type_ids"):
        token_inputs([1], [0])


def test_activations_are_read_by_name_and_not_written():
    assert isinstance(_ACTIVATION_REGISTRY["gelu_new"], NewGELU)
    assert "none_such" not in _ACTIVATION_REGISTRY
    assert len(list(_ACTIVATION_REGISTRY)) == len(_ACTIVATION_REGISTRY) > 5
    with pytest.raises(NotBuiltError, match=r"mine.*own class"):
        _ACTIVATION_REGISTRY["mine"] = torch.nn.SiLU


def test_no_rope_is_kept_in_the_dictionary_of_ropes():
    _ROPE_DICT.clear()
    assert _ROPE_DICT.get((64, 64)) is None
    with pytest.raises(NotBuiltError, match=r"_ROPE_DICT.*return the object"):
        _ROPE_DICT[64, 64] = object()
