"""A programmed model runs on the ranks that it was made on, whoever calls it from where."""

import pytest
import torch
from programmed_llama import MyLlama
from tiny_llama import make_checkpoint

from weft import LLM
from weft.checkpoint.loader import open_weights
from weft.config.engine_args import EngineArgs
from weft.config.machine import Machine
from weft.errors import NotBuiltError
from weft.models.build import build_model, layer_context
from weft.parallel import Group, Ranks, get_tensor_model_parallel_rank, running_on
from weft.resolve.engine_config import resolve_engine_config


class Place(Group):
    """A place in a group of processes that exchange nothing."""

    def __init__(self, rank, size):
        super().__init__()
        self.rank_in_group, self.world_size = rank, size


class Asking(MyLlama):
    """Keeps what each of its methods is told."""

    def __init__(self, *, vllm_config, prefix=""):
        super().__init__(vllm_config=vllm_config, prefix=prefix)
        self.parallel, self.told = vllm_config.parallel_config, {"__init__": get_tensor_model_parallel_rank()}

    def load_weights(self, weights):
        self.told["load_weights"] = get_tensor_model_parallel_rank()
        return super().load_weights(weights)

    def embed_input_ids(self, input_ids):
        self.told["embed_input_ids"] = get_tensor_model_parallel_rank()
        return torch.zeros(len(input_ids), 32)

    def compute_logits(self, hidden_states):
        self.told["compute_logits"] = get_tensor_model_parallel_rank()
        return torch.zeros(len(hidden_states), 259)


def test_every_method_is_told_the_rank_of_its_engine(tmp_path):
    config = resolve_engine_config(
        EngineArgs(model=str(make_checkpoint(tmp_path)), model_class=Asking, dtype="float32", max_model_len=64),
        Machine.detect())
    with running_on(Ranks(tensor=Place(1, 2))):
        model = build_model(config, layer_context(config), open_weights(config.model, config.load))

    model.load(max_model_len=64, use_tqdm=False)
    model._embeds(torch.tensor([1, 2]))
    model.compute_logits(torch.zeros(1, 32))

    assert model.module.told == {"__init__": 1, "load_weights": 1, "embed_input_ids": 1, "compute_logits": 1}
    assert (model.module.parallel.tensor_parallel_size, model.module.parallel.rank) == (2, 1)


@pytest.mark.parametrize("option", ["pipeline_parallel_size", "tensor_parallel_size"])
def test_an_engine_of_several_processes_is_refused_for_a_programmed_model_too(tmp_path, option):
    with pytest.raises(NotBuiltError, match=rf"{option} = 2: .*one process runs the whole model"):
        LLM(model=str(make_checkpoint(tmp_path)), model_class=MyLlama, **{option: 2})
