"""Two processes that divide a layer compute what one computes with the whole layer."""

import pytest
import torch
from tiny_llama import make_checkpoint
from two_ranks import CASES, model_logits, results, run_two


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("ranks")
    make_checkpoint(path / "model")
    return path


@pytest.fixture(scope="module")
def ranks(directory):
    return run_two(directory)


@pytest.fixture(scope="module")
def alone():
    return results()


@pytest.mark.parametrize("name", CASES)
def test_each_process_has_the_result_of_one(ranks, alone, name):
    wanted = alone[name]
    digits = 2e-5 * max(1.0, float(wanted.abs().max()))        # sums of other orders differ by parts of the largest
    for found in ranks:
        torch.testing.assert_close(found[name], wanted, rtol=2e-5, atol=digits)


def test_a_programmed_model_in_two_processes_gives_the_logits_of_one(ranks, directory):
    alone = model_logits(directory / "model")
    for found in ranks:
        torch.testing.assert_close(found["model"], alone, rtol=2e-4, atol=5e-5 * float(alone.abs().max()))


def test_a_programmed_model_in_two_stages_gives_the_logits_of_one(ranks, directory):
    alone = model_logits(directory / "model")

    torch.testing.assert_close(ranks[1]["stages"], alone, rtol=2e-4, atol=5e-5 * float(alone.abs().max()))
    assert [(found["layers"] > 0).tolist() for found in ranks] == [[True, False], [False, True]]


def test_sums_parts_and_messages_between_processes(ranks):
    for rank, found in enumerate(ranks):
        assert found["sum"].tolist() == [3, 3] and found["sum"].dtype == torch.bfloat16
        assert found["gathered"].tolist() == [1, 1, 2, 2]
        assert found["sent"].tolist() == [2, 2]
        assert found["scattered"].tolist() == [3]
        assert found.get("a", found["sent"]).tolist() == ([2, 2] if rank == 0 else [1, 1])
    assert ranks[1]["b"].dtype == torch.float32
