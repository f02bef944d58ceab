"""One process is a group, too; sizes that do not divide are refused."""

import pytest
import torch

from weft.errors import ConfigError
from weft.parallel import (
    Ranks,
    divide,
    get_dp_group,
    get_ep_group,
    get_pp_group,
    get_tensor_model_parallel_rank,
    get_tensor_model_parallel_world_size,
    get_tp_group,
    running_on,
    split_tensor_along_last_dim,
    tensor_model_parallel_all_gather,
    tensor_model_parallel_all_reduce,
)


@pytest.mark.parametrize("group", [get_tp_group, get_pp_group, get_ep_group, get_dp_group])
def test_a_process_alone_is_first_and_last_of_one(group):
    found = group()

    assert (found.rank_in_group, found.world_size, found.is_first_rank, found.is_last_rank) == (0, 1, True, True)
    assert (get_tensor_model_parallel_rank(), get_tensor_model_parallel_world_size()) == (0, 1)


def test_alone_an_exchange_gives_what_it_is_given_and_a_message_is_an_error():
    x = torch.arange(4.0)

    assert tensor_model_parallel_all_reduce(x) is x
    assert tensor_model_parallel_all_gather(x) is x
    with pytest.raises(RuntimeError, match="send: the group is one process"):
        get_pp_group().send(x)


def test_ranks_hold_within_their_block_only():
    ranks = Ranks()
    with running_on(ranks):
        assert get_tp_group() is ranks.tensor
    assert get_tp_group() is not ranks.tensor


def test_sizes_divide_or_are_refused():
    assert divide(12, 4) == 3
    assert [part.tolist() for part in split_tensor_along_last_dim(torch.arange(4), 2)] == [[0, 1], [2, 3]]
    with pytest.raises(ConfigError, match=r"divide = \(7, 2\): expected a multiple of 2"):
        divide(7, 2)
